"""chats.json: conversations as transformers' apply_chat_template renders them."""

from __future__ import annotations

from jinja2.exceptions import UndefinedError

from .common import smollm2_tokenizer, write_json

# In the manner of published templates: Llama 3's, Qwen's, Mistral's, and what Jinja can do with white space.
TEMPLATES = {
    "llama3": "{{- bos_token }}\n{%- for message in messages %}\n    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}\n"
    "{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n",
    "qwen": "{%- if tools %}\n    {{- 'tools' }}\n{%- else %}\n    {%- if messages[0].role == 'system' %}\n        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}\n"
    "    {%- endif %}\n{%- endif %}\n{%- set ns = namespace(last=messages|length - 1) %}\n{%- for message in messages[::-1] %}\n    {%- set index = (messages|length - 1) - loop.index0 %}\n"
    "    {%- if message.role == 'user' and message.content is string %}\n        {%- set ns.last = index %}\n    {%- endif %}\n{%- endfor %}\n{%- for message in messages %}\n"
    "    {%- if (message.role == 'user') or (message.role == 'system' and not loop.first) or message.role == 'assistant' %}\n"
    "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n    {%- endif %}\n{%- endfor %}\n[{{ ns.last }}]\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}",
    "mistral": "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% else %}{{ '<<SYS>>' + message['content'] + '<</SYS>>' }}{% endif %}{% endfor %}",
    "spaces": "  {% for message in messages %}\n  {{ loop.index }}/{{ loop.length }} {{ message.role | upper }}: {{ message | tojson }}\n    {% if not loop.last %}\n--\n    {% endif %}\n  {% endfor %}\n"
    "{{ messages | map(attribute='role') | join(', ') }} {{ 'yes' if bos_token is defined else 'no' }} {{ 'yes' if nothing is defined else 'no' }}\n",
    # What Python and Jinja mean, where JavaScript would do something else.
    "thinking": "{%- for m in messages %}\n{%- set content = m.content %}\n{%- if '</think>' in content %}\n"
    "{%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}\n{%- set content = content.split('</think>')[-1].lstrip('\\n') %}\n"
    "{%- endif %}\n<{{ m.role }}{% if thought is defined %} thought={{ thought }}{% endif %}>{{ content.strip('\\n.') }}|{{ content.lstrip() }}|{{ content.rstrip() }}|{{ content | trim }}|\n{%- endfor %}",
    "line-ends": "{% for m in messages %}\r\n{{ m.role }}\r\n{{ m.content }}\r{% endfor %}\r\n",
    "loops": "{% for m in messages %}[{{ m.role }}{% if m.role == 'system' %}]{% continue %}{% endif %} {{ seen }}{% set seen = m.content %}"
    "{% if loop.index0 == 2 %}end{% break %}{% endif %}] {{ loop.nextitem.role if loop.nextitem is defined else '-' }}{% endfor %}{% for c in messages[0].content %}{{ c }}.{% else %}empty{% endfor %}",
    "equal": "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% else %}{% set system = false %}{% endif %}{% if system != false %}({{ system }}){% endif %}"
    "{{ 'a' if 1 == true else 'b' }}{{ 'a' if '1' == 1 else 'b' }}{{ 'a' if [1, [2]] == [1, [2]] else 'b' }}{{ 'a' if none == 0 else 'b' }}{{ 'a' if 1 in [true] else 'b' }}"
    "{{ 'last' if messages[-1] == {'content': 'Hi', 'role': 'user'} else 'not last' }} {{ (messages | selectattr('tool_calls', 'undefined') | list | length) }}"
    "{{ (messages | rejectattr('role', 'equalto', 'user') | list | length) }}{{ tools | selectattr('x') | list | length }}{{ nothing | trim }}{{ nothing | length }}"
    "{{ none }}{{ 1 == 1 }}{% if messages %}{{ tools }}{{ 'S' in messages[0].content }}{% endif %}",
    "words": "{% for m in messages %}{{ m.content | length }} {{ m.content | title }} {{ m.content | capitalize }} {{ m.content.split() | join('/') }}{% endfor %}",
    "written": "{{ messages }}{{ messages[0] | string }}{{ messages[-1].content.split() ~ (1, 2) }}{{ ['x', none, true, 1.5, {'a': none}, 'it\\'s', '\\'\"\\\\'] }}"
    "{% for m in messages %}{{ (loop.index0 - 3) % 2 }}{{ loop.index % -3 }} {% endfor %}{{ none ~ true ~ nothing }}"
    "{{ [nothing, '\t\n\r', '\u00a0\u2028\U000110bd', 'a b', ''] }}",
    "second": "{{ messages[1].role }}{{ messages[1].content }}",
    "sum": "{{ messages[0].role + messages | length }}",
}

CONVERSATIONS = [
    [("user", "Hi")],
    [("system", "Be brief."), ("user", "What is 7 * 8?")],
    [("user", "  spaces around \n"), ("assistant", "Yes."), ("user", "日本語 🎉 \"quotes\" <b>&amp;</b> 'x'")],
    [("system", "S"), ("user", "1"), ("assistant", "2\n\n3"), ("user", "{{ not a template }}")],
    [("system", ""), ("user", "q"), ("assistant", "<think>\nhm\n</think>\n\n  so\n."), ("user", "\u3000o'neil BOB-x\u0085\x1c"), ("assistant", "\ufeff\u00a0é\u2028")],
]


def make() -> None:
    tokenizer = smollm2_tokenizer()
    templates = {"smollm2": tokenizer.chat_template, **TEMPLATES}
    entries = []
    for name, template in templates.items():
        for turns in CONVERSATIONS:
            messages = [{"role": role, "content": content} for role, content in turns]
            for prompt in (True, False):
                text = rendered(tokenizer, messages, template, prompt)
                entries.append({"template": name, "messages": messages, "addGenerationPrompt": prompt, "text": text})
    special = {"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token}
    write_json("chats.json", {"templates": templates, "specialTokens": special, "chats": entries})


def rendered(tokenizer, messages: list[dict], template: str, prompt: bool) -> str | None:
    """None where Jinja refuses."""
    try:
        return tokenizer.apply_chat_template(messages, chat_template=template, add_generation_prompt=prompt, tokenize=False)
    except (TypeError, UndefinedError):
        return None
