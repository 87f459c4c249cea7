#!/usr/bin/env python3
"""Writes expected.json beside it: conversations as Jinja makes texts of them, run as transformers runs it. Needs jinja2 3.1."""
import datetime
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.sandbox

NOW = datetime.datetime(2026, 11, 28, 22, 24, 5)
# Small templates of our own, each with constructs of published ones.
TEMPLATES = {
    "headers": """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
[system] {{ date_string }} {{ system }}
{% if tools is not none and tools %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{% endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' or message.role == "ipython" %}
        {{- "[tool] " }}{% if message.content is mapping or message.content is iterable %}{{ message.content | tojson }}{% else %}{{ message.content }}{% endif %}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("one call at a time") }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '{"name": "' + call.name + '", ' }}
        {%- for name, value in call.arguments | items %}
            {{- name + '=' ~ value }}{% if not loop.last %}, {% endif %}
        {%- endfor %}
    {%- else %}
        {{- '[' + message['role'] + ']' + message['content'] | trim + eos_token }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}[assistant]{% endif %}
""",
    "thinking": """{%- macro show(content) -%}
    {%- if content is string -%}{{ content }}{%- elif content is none -%}{%- else -%}
    {%- for part in content -%}{{ part.text if part.type == 'text' else raise_exception('text alone') }}{%- endfor -%}{%- endif -%}
{%- endmacro -%}
{%- set ns = namespace(last=messages|length - 1, found=false) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if not ns.found and message.role == "user" and not(message.content is string and message.content.startswith('<tool>')) %}
        {%- set ns.found = true %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = show(message.content) %}
    {%- if message.role == "assistant" %}
        {%- set thought = '' %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- generation %}
        {%- if loop.index0 > ns.last or loop.last %}
            {{- '<a>' + thought.strip('\\n') + '|' + content }}
        {%- else %}
            {{- '<a>' + content }}
        {%- endif %}
        {%- endgeneration %}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n' ~ call.function.name ~ ' ' ~ (call.function.arguments | tojson) }}
        {%- endfor %}
    {%- elif message.role in ['user', 'system', 'tool'] %}
        {{- '<' ~ message.role[0]|upper ~ '>' ~ content.replace('\\n', '/') }}
    {%- else %}
        {{- raise_exception('Unknown role: ' + message.role) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<a>' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>' }}
    {%- endif %}
{%- endif %}""",
    "printing": """{% for message in messages %}
  {% if loop.index > 4 %}{% break %}{% endif %}
  {% if message.content is not string %}{% continue %}{% endif %}
{{ loop.index }} {{ message.content[:4] }} {{ message.missing }}{{ message.get('missing', 'default') }} {# note #}
    {# a line of its own #}
{% endfor %}
{{ tools }} {{ none }} {{ true }} {{ 1.0 }} {{ 1e20 }} {{ 'a' if false }} {{ [1, 'b', none, {'k': "it's"}] }} {{ 7 // 2 }} {{ 7 / 2 }}
{{ messages | map(attribute='role') | join(',') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{ tools | tojson }} {{ tools | tojson(indent=2) }} {{ tools | tojson(separators=(',', ':'), sort_keys=true) }} {{ tools | tojson(ensure_ascii=true) }}
{{ "%s is %d" | format('x', 3) }} {{ ' x '.strip() }} {{ 'a,b'.split(',') }} {{ (tools or []) | string | length > 2 }}
""",
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "valve",
            "description": "Opens \"or\" closes a <valve> & 'more' — über 50 %\n\t\u0001\U0001f600",
            "parameters": {"type": "object", "properties": {"name": {"type": "string"}, "share": {"default": 0.5, "minimum": 1e-7}}, "required": []},
        },
    }
]
CALL = {"type": "function", "function": {"name": "valve", "arguments": {"name": "a", "open": True, "n": None, "m": 2.5}}}
SYSTEM = {"role": "system", "content": " You are terse.\n"}
USER = {"role": "user", "content": "  Grüße, 世界 \U0001f600! <b>\"1 < 2\"</b> & 'x'\n\n"}
THOUGHT = {"role": "assistant", "content": "<think>\nThey greet.\n</think>\n\nHello."}
AGAIN = {"role": "user", "content": "And then?"}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
CHATS = [
    {"messages": [USER]},
    {"messages": [SYSTEM, USER], "variables": {"enable_thinking": False, "date_string": "today"}},
    {"messages": [SYSTEM, USER, THOUGHT, AGAIN, THOUGHT], "add_generation_prompt": False},
    {"messages": [SYSTEM, USER], "tools": TOOLS},
    {"messages": [USER, CALLED, {"role": "tool", "content": "{\"open\": true}"}, AGAIN], "tools": TOOLS},
    {"messages": [USER, {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]}], "tools": TOOLS},
    {"messages": [{"role": "narrator", "content": "Once."}]},
    {"messages": [USER, USER, AGAIN, AGAIN, USER, USER]},
]


class Generation(jinja2.ext.Extension):
    """`{% generation %}`, which marks answers for training and prints what is in it."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.If(jinja2.nodes.Const(True), body, [], []).set_lineno(line)


class Refused(Exception):
    pass


def raise_exception(message):
    raise Refused(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def main():
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals.update(raise_exception=raise_exception, strftime_now=NOW.strftime)
    cases = []
    for source in TEMPLATES.values():
        for chat in CHATS:
            chat = {"tools": None, "variables": {}, "add_generation_prompt": True, **chat}
            try:
                text = made.from_string(source).render(
                    messages=chat["messages"], tools=chat["tools"], documents=None, bos_token="<s>", eos_token="</s>",
                    add_generation_prompt=chat["add_generation_prompt"], **chat["variables"],
                )
            except Refused:
                text = None
            cases.append({"template": source, **chat, "text": text})
    path = pathlib.Path(__file__).with_name("expected.json")
    path.write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
