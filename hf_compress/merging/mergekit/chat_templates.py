"""Chat templates that a mergekit configuration may name: the prompt formats of ChatML, Alpaca, Llama 3, Mistral and EXAONE.

They render what mergekit 0.1.5's render (tests hold its answers), but for `exaone`: there it indents every line, which no
EXAONE model was trained on, and here it is the format of the model card.
"""

_CHATML = r"""
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\n' -}}
{%- endif -%}
"""

_ALPACA = r"""
{%- set turns = messages | rejectattr('role', 'equalto', 'system') | list -%}
{%- for message in messages | selectattr('role', 'equalto', 'system') -%}
    {{- message['content'] | trim -}}
{%- endfor -%}
{{- '\n\n' -}}
{%- for message in turns -%}
    {{- ('### Response:\n' if message['role'] == 'assistant' else '### Instruction:\n') + message['content'] | trim -}}
    {{- '' if loop.last else '\n\n' -}}
{%- endfor -%}
{%- if add_generation_prompt and (not turns or turns[-1]['role'] != 'assistant') -%}
    {{- '### Response:\n' -}}
{%- endif -%}
"""

_LLAMA3 = r"""
{{- bos_token -}}
{%- for message in messages -%}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
{%- endif -%}
"""

_MISTRAL = r"""
{%- set opens = messages | length > 0 and messages[0]['role'] == 'system' -%}
{{- bos_token -}}
{%- for message in (messages[1:] if opens else messages) -%}
    {%- if message['role'] not in ('user', 'assistant') -%}
        {{- raise_exception('Mistral models know the roles user and assistant, and one system message at the start') -}}
    {%- elif message['role'] != ('user' if loop.index0 % 2 == 0 else 'assistant') -%}
        {{- raise_exception('Mistral models need user and assistant to take turns, the user first') -}}
    {%- elif message['role'] == 'user' -%}
        {{- ' [INST] ' + (messages[0]['content'] + '\n\n' if opens and loop.first else '') -}}
        {{- message['content'] + ' [/INST]' -}}
    {%- else -%}
        {{- ' ' + message['content'] + eos_token -}}
    {%- endif -%}
{%- endfor -%}
"""

_EXAONE = r"""
{%- if messages | length == 0 or messages[0]['role'] != 'system' -%}
    {{- '[|system|][|endofturn|]\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {{- '[|' + message['role'] + '|]' + message['content'] -}}
    {{- '\n' if message['role'] == 'user' else '[|endofturn|]\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '[|assistant|]' -}}
{%- endif -%}
"""

CHAT_TEMPLATES = {
    "chatml": _CHATML.strip(),
    "alpaca": _ALPACA.strip(),
    "llama3": _LLAMA3.strip(),
    "mistral": _MISTRAL.strip(),
    "exaone": _EXAONE.strip(),
}
"""Name -> template in Jinja."""
