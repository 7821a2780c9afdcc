"""Scores of decompositions: with labels (segmentation), without (audit), and of reconstructions.

The scores are independent of models: frames are CPU tensors as in types.Clip, labels are numpy
arrays of slot or instance numbers, and a segmenter is a callable. Only `segmenter`,
`slot_information` and `model_scores` run a model. Scores are fractions in [0, 1] unless a docstring
says otherwise; an undefined score is None, never NaN.
"""
