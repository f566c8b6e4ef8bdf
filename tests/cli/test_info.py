import json

import mcc_keras as mk


def test_info_prints_text_or_json(run, capsys):
    run("info")
    assert capsys.readouterr().out == f"{mk.describe_environment()}\n"
    run("info", "--json")
    assert json.loads(capsys.readouterr().out) == json.loads(mk.describe_environment().to_json())
