"""chats.json: conversations as transformers' apply_chat_template renders them."""

from __future__ import annotations

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
}

CONVERSATIONS = [
    [("user", "Hi")],
    [("system", "Be brief."), ("user", "What is 7 * 8?")],
    [("user", "  spaces around \n"), ("assistant", "Yes."), ("user", "日本語 🎉 \"quotes\" <b>&amp;</b> 'x'")],
    [("system", "S"), ("user", "1"), ("assistant", "2\n\n3"), ("user", "{{ not a template }}")],
]


def make() -> None:
    tokenizer = smollm2_tokenizer()
    templates = {"smollm2": tokenizer.chat_template, **TEMPLATES}
    entries = []
    for name, template in templates.items():
        for turns in CONVERSATIONS:
            messages = [{"role": role, "content": content} for role, content in turns]
            for prompt in (True, False):
                text = tokenizer.apply_chat_template(
                    messages, chat_template=template, add_generation_prompt=prompt, tokenize=False
                )
                entries.append({"template": name, "messages": messages, "addGenerationPrompt": prompt, "text": text})
    special = {"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token}
    write_json("chats.json", {"templates": templates, "specialTokens": special, "chats": entries})
