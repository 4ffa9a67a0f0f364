"""Configurations in mergekit's language, and what mergekit 0.1.5 makes of them (mergekit_expected.json).

The expectations were written by mergekit's own planner for four Llama models of four layers, `base`, `math`, `code` and
`chat`: for each tensor of the result the shared parameters, each model's, and where each model's tensor comes from.
"""

CASES = {
    "linear": """
        models:
          - model: math
            parameters: {weight: 0.6}
          - model: code
            parameters: {weight: 0.4}
        merge_method: linear
        dtype: float16
    """,
    "linear, not normalized, one weight for all": """
        models: [{model: math}, {model: code}, {model: chat}]
        merge_method: linear
        parameters: {weight: 1e-1, normalize: false}
        dtype: float32
        out_dtype: bfloat16
    """,
    "linear with a base that is not listed": """
        models: [{model: math}, {model: code}]
        base_model: base
        merge_method: linear
        parameters: {weight: 0.5}
    """,
    "linear with a base that is listed second": """
        models:
          - {model: math, parameters: {weight: 1}}
          - {model: base, parameters: {weight: 3}}
        base_model: base
        merge_method: linear
    """,
    "gradient of three weights": """
        models:
          - {model: math, parameters: {weight: [0, 0.3, 1]}}
          - {model: code, parameters: {weight: [1, 0.7, 0]}}
        merge_method: linear
    """,
    "slerp with a gradient per part": """
        slices:
          - sources:
              - model: base
                layer_range: [0, 4]
              - model: math
                layer_range: [0, 4]
        merge_method: slerp
        base_model: base
        parameters:
          t:
            - filter: self_attn
              value: [0, 0.5, 0.3, 0.7, 1]
            - filter: mlp
              value: [1, 0.5, 0.7, 0.3, 0]
            - value: 0.5
        dtype: bfloat16
    """,
    "slerp of models, the base second": """
        models: [{model: math}, {model: base}]
        merge_method: slerp
        base_model: base
        parameters: {t: 0.25}
    """,
    "slerp, heads and norms at the start of a gradient": """
        models: [{model: math}]
        merge_method: slerp
        base_model: base
        parameters:
          t: [0.1, 0.9]
    """,
    "slerp with another t for each slice": """
        slices:
          - sources: [{model: base, layer_range: [0, 2]}, {model: math, layer_range: [0, 2]}]
            parameters: {t: 0.2}
          - sources: [{model: base, layer_range: [2, 4]}, {model: math, layer_range: [2, 4]}]
            parameters:
              t:
                - filter: mlp
                  value: [0.4, 0.8]
                - value: 0.6
        merge_method: slerp
        base_model: base
    """,
    "a slice falls back on the file's setting": """
        slices:
          - sources: [{model: base, layer_range: [0, 1]}, {model: math, layer_range: [0, 1]}]
          - sources: [{model: base, layer_range: [1, 4]}, {model: math, layer_range: [1, 4]}]
            parameters:
              t:
                - filter: o_proj
                  value: 1
        merge_method: slerp
        base_model: base
        parameters:
          t: [0.2, 0.4]
    """,
    "ties, the base listed without parameters": """
        models:
          - model: base
            # no parameters necessary for the base
          - model: math
            parameters: {density: 0.5, weight: 0.5}
          - model: code
            parameters:
              density: 0.5
              weight: 0.3
        merge_method: ties
        base_model: base
        parameters:
          normalize: false
          int8_mask: true
        dtype: float16
    """,
    "ties with a gradient of density and a filtered weight": """
        models:
          - model: math
            parameters:
              density: [1, 0.7, 0.1]
              weight: 1.0
          - model: code
            parameters:
              density: 0.5
              weight: [0, 0.3, 0.7, 1]
          - model: chat
            parameters:
              density: 0.33
              weight:
                - filter: mlp
                  value: 0.5
                - value: 0
        merge_method: ties
        base_model: base
        parameters: {normalize: true, int8_mask: true}
    """,
    "ties with defaults": """
        models: [{model: math}, {model: code}]
        merge_method: ties
        base_model: base
        parameters: {weight: 1}
    """,
    "ties with parameters on the base, which count for nothing": """
        models:
          - {model: base, parameters: {weight: 5, density: 0.1}}
          - {model: math, parameters: {weight: 0.5}}
        merge_method: ties
        base_model: base
        parameters: {lambda: 0.8}
    """,
    "a model's filter falls back on the file's filters": """
        models:
          - model: math
            parameters:
              weight:
                - {filter: q_proj, value: 0.9}
          - model: code
            parameters: {weight: 0.1}
        merge_method: ties
        base_model: base
        parameters:
          density:
            - {filter: down_proj, value: [0.2, 0.4]}
            - {filter: "*", value: 0.6}
            - {filter: q_proj, value: 0.7}
          weight:
            - {filter: mlp, value: 0.3}
            - {filter: layers.1., value: 0.4}
            - {value: 0.5}
    """,
    "task arithmetic with lambda": """
        models:
          - {model: math, parameters: {weight: 0.7}}
          - {model: code, parameters: {weight: -0.3}}
        merge_method: task_arithmetic
        base_model: base
        parameters: {lambda: 1.5}
    """,
    "task arithmetic, lambda over depth and normalize by filter": """
        models: [{model: math, parameters: {weight: 0.7}}, {model: code, parameters: {weight: 0.2}}]
        merge_method: task_arithmetic
        base_model: base
        parameters:
          lambda: [0.5, 1.5]
          normalize:
            - {filter: mlp, value: true}
            - {value: false}
    """,
    "booleans over depth": """
        models: [{model: math, parameters: {weight: 0.7}}, {model: code, parameters: {weight: 0.2}}]
        merge_method: ties
        base_model: base
        parameters:
          normalize: [true, false, yes]
    """,
    "dare ties": """
        models:
          - {model: math, parameters: {density: 0.53, weight: 0.4}}
          - {model: code, parameters: {density: 0.53, weight: 0.3}}
          - {model: chat, parameters: {density: 0.53, weight: 0.3}}
        merge_method: dare_ties
        base_model: base
        parameters: {int8_mask: true}
        dtype: bfloat16
    """,
    "dare linear without rescaling": """
        models: [{model: math, parameters: {density: 0.5, weight: 0.4}}, {model: code, parameters: {weight: 0.3}}]
        merge_method: dare_linear
        base_model: base
        parameters: {rescale: false}
    """,
    "della": """
        models:
          - {model: math, parameters: {density: 0.5, epsilon: 0.1, weight: 0.4}}
          - {model: code, parameters: {density: [0.4, 0.6], weight: 0.3}}
        merge_method: della
        base_model: base
        parameters: {lambda: 1.1}
    """,
    "della linear": """
        models: [{model: math}, {model: code}]
        merge_method: della_linear
        base_model: base
        parameters: {weight: 0.5, density: 0.7, epsilon: 0.05, normalize: true}
    """,
    "breadcrumbs": """
        models:
          - {model: math, parameters: {density: 0.9, gamma: 0.02, weight: 0.4}}
          - {model: code, parameters: {density: 0.8, weight: 0.3}}
        merge_method: breadcrumbs
        base_model: base
    """,
    "breadcrumbs ties": """
        models: [{model: math}, {model: code}]
        merge_method: breadcrumbs_ties
        base_model: base
        parameters: {weight: 0.5, gamma: [0.0, 0.02]}
    """,
    "model stock": """
        models: [{model: math}, {model: code}]
        merge_method: model_stock
        base_model: base
        parameters: {filter_wise: true}
    """,
    "sce": """
        models: [{model: math}, {model: code}]
        merge_method: sce
        base_model: base
        parameters:
          select_topk: [0.1, 0.5]
    """,
    "karcher with a base, which is one of the models": """
        models: [{model: math}, {model: code}]
        merge_method: karcher
        base_model: base
        parameters: {max_iter: 20}
    """,
    "nuslerp without a base": """
        models: [{model: math, parameters: {weight: 0.7}}, {model: code, parameters: {weight: 0.3}}]
        merge_method: nuslerp
        parameters: {nuslerp_flatten: false, nuslerp_row_wise: true}
    """,
    "nuslerp of task vectors": """
        models: [{model: math}, {model: code}]
        merge_method: nuslerp
        base_model: base
        parameters: {weight: [0.2, 0.8]}
    """,
    "multislerp": """
        models:
          - {model: math, parameters: {weight: 0.7}}
          - {model: code, parameters: {weight: 0.3}}
          - {model: chat, parameters: {weight: 0.3}}
        merge_method: multislerp
        parameters: {normalize_weights: false}
    """,
    "nearswap": """
        models: [{model: base}, {model: math}]
        merge_method: nearswap
        base_model: base
        parameters: {t: 1e-4}
    """,
    "layers stacked by passthrough": """
        slices:
          - sources:
              - model: math
                layer_range: [0, 3]
          - sources:
              - model: code
                layer_range: [1, 4]
        merge_method: passthrough
        dtype: float16
    """,
    "layers repeated, their projections scaled": """
        slices:
          - sources: [{model: math, layer_range: [0, 3]}]
          - sources:
              - model: math
                layer_range: [1, 4]
                parameters:
                  scale:
                    - {filter: o_proj, value: 0.0}
                    - {filter: down_proj, value: 0.0}
                    - {value: 1.0}
        merge_method: passthrough
    """,
    "slices stacked and merged, weights of one source in one slice": """
        slices:
          - sources:
              - {model: math, layer_range: [0, 2], parameters: {weight: [0.2, 0.6]}}
              - {model: code, layer_range: [1, 3], parameters: {weight: 0.5}}
            parameters: {normalize: false}
          - sources:
              - {model: code, layer_range: [1, 4], parameters: {weight: [0.1, 0.9]}}
              - {model: chat, layer_range: [1, 4]}
            parameters:
              weight:
                - {filter: lm_head, value: 0.25}
        merge_method: linear
        parameters:
          weight: 0.75
    """,
    "slices of task vectors": """
        slices:
          - sources:
              - {model: base, layer_range: [0, 1]}
              - {model: math, layer_range: [0, 1], parameters: {weight: [0.3, 0.4]}}
          - sources:
              - {model: math, layer_range: [2, 4], parameters: {weight: [0.3, 0.4]}}
              - {model: base, layer_range: [2, 4]}
        merge_method: task_arithmetic
        base_model: base
    """,
    "the module named default": """
        modules:
          default:
            models: [{model: math}, {model: code}]
            parameters:
              weight:
                - {filter: mlp, value: 0.2}
        merge_method: linear
        parameters: {weight: 0.8}
    """,
    "numbers in quotes, an anchor, and settings without effect": """
        models:
          - model: math
            parameters: &same {weight: "0.5", density: 0.5}
          - model: code
            parameters: {<<: *same, weight: 3e-1}
        merge_method: linear
        parameters: {normalize: 1, t: 0.3}
    """,
}
