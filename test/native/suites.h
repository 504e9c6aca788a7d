// Every test file of the native code, in the order in which they run: from what is small to what builds on it.
#pragma once

#include "check.h"

namespace tinylora::test {

void add_core_tests(Tests&);
void add_compare_tests(Tests&);
void add_formula_tests(Tests&);
void add_elementwise_tests(Tests&);
void add_norm_tests(Tests&);
void add_linear_tests(Tests&);
void add_lora_tests(Tests&);
void add_reader_tests(Tests&);
void add_weight_gradient_tests(Tests&);
void add_gram_tests(Tests&);
void add_cuda_grid_tests(Tests&);
void add_cuda_low_rank_tests(Tests&);
void add_cuda_head_tests(Tests&);
void add_cuda_product_tests(Tests&);
void add_cuda_weight_gradient_tests(Tests&);
void add_attention_tests(Tests&);
void add_attention_decode_tests(Tests&);
void add_attention_gradient_tests(Tests&);
void add_eight_lanes_tests(Tests&);
void add_head_tests(Tests&);
void add_sample_tests(Tests&);
void add_cpu_arguments_tests(Tests&);
void add_mutation_tests(Tests&);
void add_engine_dequantize_tests(Tests&);
void add_engine_load_tests(Tests&);
void add_engine_refused_model_tests(Tests&);
void add_engine_score_tests(Tests&);
void add_engine_gradient_tests(Tests&);
void add_engine_parts_tests(Tests&);
void add_engine_checkpointing_tests(Tests&);
void add_engine_sampled_keeping_tests(Tests&);
void add_engine_sampled_tests(Tests&);
void add_engine_state_tests(Tests&);
void add_engine_parameters_tests(Tests&);
void add_engine_weights_tests(Tests&);
void add_engine_svd_tests(Tests&);
void add_engine_projection_tests(Tests&);
void add_engine_sampler_parts_tests(Tests&);
void add_engine_sampler_tests(Tests&);
void add_engine_request_tests(Tests&);
void add_engine_memory_tests(Tests&);
void add_cuda_engine_tests(Tests&);
void add_cuda_leak_tests(Tests&);

inline void add_all(Tests& tests) {
  add_core_tests(tests);
  add_compare_tests(tests);
  add_formula_tests(tests);
  add_elementwise_tests(tests);
  add_norm_tests(tests);
  add_linear_tests(tests);
  add_lora_tests(tests);
  add_reader_tests(tests);
  add_weight_gradient_tests(tests);
  add_gram_tests(tests);
  add_cuda_grid_tests(tests);
  add_cuda_low_rank_tests(tests);
  add_cuda_head_tests(tests);
  add_cuda_product_tests(tests);
  add_cuda_weight_gradient_tests(tests);
  add_attention_tests(tests);
  add_attention_decode_tests(tests);
  add_attention_gradient_tests(tests);
  add_eight_lanes_tests(tests);
  add_head_tests(tests);
  add_sample_tests(tests);
  add_cpu_arguments_tests(tests);
  add_mutation_tests(tests);
  add_engine_dequantize_tests(tests);
  add_engine_load_tests(tests);
  add_engine_refused_model_tests(tests);
  add_engine_score_tests(tests);
  add_engine_gradient_tests(tests);
  add_engine_parts_tests(tests);
  add_engine_checkpointing_tests(tests);
  add_engine_sampled_keeping_tests(tests);
  add_engine_sampled_tests(tests);
  add_engine_state_tests(tests);
  add_engine_parameters_tests(tests);
  add_engine_weights_tests(tests);
  add_engine_svd_tests(tests);
  add_engine_projection_tests(tests);
  add_engine_sampler_parts_tests(tests);
  add_engine_sampler_tests(tests);
  add_engine_request_tests(tests);
  add_engine_memory_tests(tests);
  add_cuda_engine_tests(tests);
  add_cuda_leak_tests(tests);  // last: it looks at what the others left
}

}  // namespace tinylora::test
