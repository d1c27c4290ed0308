"""The ReaScript, run by Lua with a stand-in for REAPER."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LUA = next(filter(None, map(shutil.which, ("lua5.4", "lua5.3", "lua"))), None)
SCRIPT = Path(__file__).parents[1] / "docs/fxst_apply.lua"

REAPER = """
local log = {}
local function note(...) log[#log + 1] = table.concat({...}, "|") end
reaper = {
  ShowMessageBox = function(text) note("told", text) end,
  Undo_BeginBlock = function() end, Undo_EndBlock = function(name) note("undo", name) end,
  UpdateArrange = function() end,
  CountSelectedMediaItems = function() return %(items)d end,
  GetUserFileNameForRead = function() return true, arg[2] end,
  GetUserInputs = function(_, _, _, default) return true, "%(inputs)s" end,
  GetSelectedMediaItem = function(_, index) return index end,
  GetActiveTake = function() return "take" end, TakeIsMIDI = function() return false end,
  GetMediaItemTake_Source = function() return arg[1] end, GetMediaSourceParent = function() return nil end,
  GetMediaSourceFileName = function(source) return source end,
  ExecProcess = function(command)
    command = command:gsub('^"fxst"', os.getenv("FXST"))
    local pipe = io.popen(command .. " 2>&1")
    local said = pipe:read("a")
    local _, _, code = pipe:close()
    return code .. "\\n" .. said
  end,
  PCM_Source_CreateFromFile = function(path) note("source", path) return path end,
  AddTakeToMediaItem = function() return "new" end, SetMediaItemTake_Source = function() end,
  SetMediaItemTakeInfo_Value = function(take, name, value) note(take, name, value) end,
  GetMediaItemTakeInfo_Value = function(take, name) return name == "D_STARTOFFS" and 1.5 or 1 end,
  GetSetMediaItemTakeInfo_String = function(_, _, name) note("name", name) end,
  SetActiveTake = function(take) note("active", take) end,
}
dofile(arg[3])
print(table.concat(log, "\\n"))
"""


@pytest.fixture
def reascript(tmp_path, examples):
    if LUA is None:
        pytest.skip("the program lua is not here")
    shutil.copy(examples / "voice.wav", tmp_path / "my voice.wav")

    def run(inputs="60,-20", items=1, reference=examples / "radio.wav", source="my voice.wav"):
        (tmp_path / "reaper.lua").write_text(REAPER % {"inputs": inputs, "items": items})
        given = [tmp_path / source, reference, SCRIPT]
        done = subprocess.run(
            [LUA, tmp_path / "reaper.lua", *given],
            env=os.environ | {"FXST": f"{sys.executable} -m fxst", "PYTHONPATH": str(SCRIPT.parents[1])},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.splitlines()

    return run


def test_the_selected_item_gets_a_take_in_the_style_of_the_reference(reascript, tmp_path):
    said = reascript()
    made = tmp_path / "my voice-fxst-1.wav"
    assert f"source|{made}" in said
    assert {"new|D_STARTOFFS|1.5", "name|my voice-fxst-1.wav", "active|new", "undo|fxst apply"} <= set(said)
    assert not any(line.startswith("told") for line in said)
    made_by = json.loads(made.with_suffix(".params.json").read_text())["made_by"]
    assert made_by["amount"] == "60 %"
    assert made_by["loudness"].endswith("to -20.00 LUFS")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"items": 0}, "told|Select an item first."),
        ({"inputs": "lots,"}, "told|Give the amount in percent"),
        ({"source": "missing.wav"}, "missing.wav"),
        ({"source": 'a".wav'}, "double quote"),
    ],
)
def test_what_cannot_be_done_is_told(reascript, tmp_path, given, words):
    said = reascript(**given)
    told = [line for line in said if line.startswith("told")]
    assert len(told) == 1
    assert words in "\n".join(said)
    assert not any(line.startswith("source") for line in said)
