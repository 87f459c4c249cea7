"""Compares our chat templates with Jinja's, run as transformers runs it, for every template in a directory.

usage: templates.py DIRECTORY PROGRAM
DIRECTORY holds `*.jinja`, such as llama.cpp's `models/templates/`; PROGRAM is the example `template`. Needs jinja2.
Where a template refuses a conversation (raise_exception) ours must refuse it too. Where it fails by a mistake of its own (a loop over
None), whatever ours does is right.
"""
import datetime
import json
import pathlib
import subprocess
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

REFUSED = "refused: "
NOW = datetime.datetime(2026, 11, 28, 22, 24, 5, tzinfo=datetime.timezone.utc)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "valve",
            "description": "Opens \"or\" closes a <valve> — über 50 %",
            "parameters": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "open": {"type": "boolean"}, "share": {"type": "number", "default": 0.5}},
                "required": ["name"],
            },
        },
    }
]
CALL = {"id": "c12345678", "type": "function", "function": {"name": "valve", "arguments": {"name": "a", "open": True, "n": [1, 2.5, None]}}}
SYSTEM = {"role": "system", "content": "You are terse.\n"}
USER = {"role": "user", "content": "  Grüße, 世界 \U0001f600! <b>\"1 < 2\"</b> & 'x'\n\n"}
ANSWER = {"role": "assistant", "content": "Hello."}
THOUGHT = {"role": "assistant", "content": "<think>\nThey greet.\n</think>\n\nHello."}
AGAIN = {"role": "user", "content": "And then?"}
CHATS = [
    {"messages": [USER]},
    {"messages": [SYSTEM, USER]},
    {"messages": [SYSTEM, USER, ANSWER, AGAIN]},
    {"messages": [USER, ANSWER, AGAIN, ANSWER], "add_generation_prompt": False},
    {"messages": [USER, THOUGHT, AGAIN]},
    {"messages": [SYSTEM, USER], "variables": {"enable_thinking": False}},
    {"messages": [USER], "variables": {"enable_thinking": True, "date_string": "01 Jan 2026"}},
    {"messages": [SYSTEM, USER], "tools": TOOLS},
    {"messages": [USER], "tools": TOOLS},
    {
        "messages": [
            SYSTEM, USER, {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "name": "valve", "tool_call_id": "c12345678", "content": "{\"open\": true}"}, ANSWER, AGAIN,
        ],
        "tools": TOOLS,
    },
    {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "name": "valve", "tool_call_id": "c12345678", "content": "ok"}], "tools": TOOLS},
    {"messages": [USER, USER]},
    {"messages": [{"role": "narrator", "content": "Once."}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "parts"}]}]},
]


class Generation(jinja2.ext.Extension):
    """`{% generation %}`, which marks answers for training and prints what is in it."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.If(jinja2.nodes.Const(True), body, [], []).set_lineno(line)


def environment():
    """As transformers makes it."""

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(REFUSED + str(message))

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = NOW.strftime
    return made


def theirs(template, chat):
    try:
        return template.render(
            messages=chat["messages"], tools=chat.get("tools"), documents=None, bos_token="<s>", eos_token="</s>",
            add_generation_prompt=chat["add_generation_prompt"], **chat.get("variables", {}),
        )
    except jinja2.exceptions.TemplateError as error:
        return None if str(error).startswith(REFUSED) else error
    except (TypeError, ValueError) as error:
        return error


def main():
    directory, program = pathlib.Path(sys.argv[1]), sys.argv[2]
    chats = [{"add_generation_prompt": True, **chat} for chat in CHATS]
    failed = agreed = 0
    for path in sorted(directory.glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        asked = {"template": source, "bos": "<s>", "eos": "</s>", "now": int(NOW.timestamp()), "chats": chats}
        done = subprocess.run([program], input=json.dumps(asked), capture_output=True, text=True)
        if done.returncode:
            print(f"{path.stem}: refused: {done.stderr.strip()}")
            failed += 1
            continue
        ours = [json.loads(line) for line in done.stdout.splitlines()]
        template = environment().from_string(source)
        wrong = []
        for number, (chat, text) in enumerate(zip(chats, ours, strict=True)):
            expected = theirs(template, chat)
            if not isinstance(expected, Exception) and text != expected:
                wrong.append((number, text, expected))
        print(f"{path.stem}: {len(chats) - len(wrong)} of {len(chats)} conversations agree")
        for number, text, expected in wrong:
            print(f"  conversation {number}\n    ours   {text!r}\n    theirs {expected!r}")
        if wrong:
            print("  " + done.stderr.strip().replace("\n", "\n  "))
        failed += bool(wrong)
        agreed += not wrong
    print(f"{agreed} templates agree, {failed} do not")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
