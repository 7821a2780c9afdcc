import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotcli.checkpoint import DEFINITION, model_folders
from slotcli.definition import definition_text, load_definition, parse_spec, spec_json
from slotcli.spec import SlotModelSpec

FOLDERS = model_folders()


@pytest.mark.parametrize("commented", [False, True])
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_text_reads_back_as_the_same_definition(folder, commented):
    spec = load_definition(folder / DEFINITION)
    text = definition_text(spec, commented=commented)
    assert parse_spec(tomllib.loads(text), "text") == spec
    assert ("#" in text) == commented


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_knob_has_a_remark_above_it(folder):
    spec = load_definition(folder / DEFINITION)
    lines = definition_text(spec, commented=True).splitlines()
    assert max(map(len, lines)) <= 200
    bare = [
        line
        for above, line in zip(["", *lines], lines, strict=False)
        if line and line[0] not in "# ]" and not above.startswith("#")
    ]
    assert bare == []
    values = spec_json(spec)
    knobs = sum(
        sum(item is not None for item in value.values()) if isinstance(value, dict) else 1
        for value in values.values()
    )
    assert sum("=" in line for line in lines if line and line[0] not in "# ]") == knobs


@given(name=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_name_reads_back(tiny_slot_spec: SlotModelSpec, name: str):
    spec = tiny_slot_spec.model_copy(update={"name": name})
    assert parse_spec(tomllib.loads(definition_text(spec)), "text") == spec
