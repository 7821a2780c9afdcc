"""How good is a decomposition: with labels (segmentation), without them (audit), and its pictures.

The scores know no model: frames are CPU tensors as in types.Clip, labels are numpy arrays of slot
or instance numbers, and whatever segments is a callable. Only `segmenter`, `slot_information` and
`model_scores` bring a model to them. Scores are fractions in [0, 1] unless a docstring says
otherwise; a score that is undefined is None, never NaN.
"""
