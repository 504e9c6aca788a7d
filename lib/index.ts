/** The public API. docs/method.md explains the method. */
export { Adapter, type AdapterBase } from "./adapter/adapter.js";
export type { AdapterMatrices } from "./adapter/file.js";
export { type FullBase, FullWeights, type NamedWeights, trainableNames } from "./adapter/full-weights.js";
export { linearModules, MODULE_TYPES } from "./adapter/modules.js";
export { type ParameterRow, type ParameterTable, parameterTable } from "./adapter/parameters.js";
export type { SaveOptions } from "./adapter/save-model.js";
export {
  type AdapterKindName,
  type AdapterOptions,
  type AdapterSpec,
  adapterSpec,
  type Distribution,
  type Split,
} from "./adapter/spec.js";
export { type Tying, tyingText } from "./adapter/tying.js";
export type { VectorDtype } from "./adapter/vector-dtype.js";
export { AdapterPool } from "./adapter-pool.js";
export type { AttachOptions } from "./adapter-slots.js";
export { WholeModel, type WholeModelSpec } from "./bench/whole-model.js";
export type { ModelShape } from "./bench/zero-model.js";
export { adapterOptions, optionsOf } from "./config/adapter-options.js";
export { resolveConfig } from "./config/config.js";
export { readConfigFile } from "./config/config-file.js";
export { EMBEDDED } from "./config/embedded.js";
export type { Method, SftOptions } from "./config/method.js";
export { nearest } from "./config/nearest.js";
export type { TrainConfig, TrainOptions } from "./config/schema.js";
export { type FusionCost, fusionCost } from "./cudasim/fusion.js";
export { byClass, type Counters, type Launch, type Total, total } from "./cudasim/launches.js";
export {
  CountedModel,
  type DecodeCounts,
  type LayerCounts,
  type PassCounts,
  type ProductCounts,
  startCounting,
} from "./cudasim/layer.js";
export type { Columns } from "./data/columns.js";
export { datasets } from "./data/datasets.js";
export type { DatasetSpec, Example } from "./data/example.js";
export type { HubOptions } from "./data/hub.js";
export { type Dataset, type DatasetOptions, loadDataset } from "./data/load.js";
export type { PromptStyle } from "./data/prompt.js";
export { heldOut } from "./data/split.js";
export { Engine, type EngineOptions } from "./engine.js";
export { type ErrorCode, TinyLoraError } from "./error.js";
export type { Breakdown, BreakdownRow } from "./eval/breakdown.js";
export {
  askedAs,
  compare,
  type EvaluatedCompletion,
  type EvaluateOptions,
  type Evaluation,
  evaluate,
} from "./eval/evaluate.js";
export {
  type BenchmarkResult,
  breakdownCells,
  differenceText,
  type EvaluationRun,
  evaluationReport,
  percent,
  percentWithError,
} from "./eval/report.js";
export type { Estimate, PairedDifference } from "./eval/statistics.js";
export { ggufLora, writeGgufLora } from "./export/gguf-lora.js";
export { importPeft } from "./export/import-peft.js";
export { type AttachedBasis, bf16Error, type LoraModule, type PlainLora, plainLora } from "./export/lora.js";
export { type MergeError, writeMerged } from "./export/merged.js";
export { writePeftLora } from "./export/peft-lora.js";
export { writePeftTinyLora } from "./export/peft-tinylora.js";
export { writeFileAtomic } from "./files.js";
export { findModel } from "./find-model.js";
export type { Completion, GenerateOptions, Generation, StreamOptions, StreamPiece } from "./generate.js";
export type { LogprobOptions, TokenLogprobs } from "./logprobs.js";
export { describeModel, type ModelDescription } from "./model/describe.js";
export { type Message, type Model, openModel } from "./model/open.js";
export type { ModelTokenizer } from "./model/tokenizer.js";
export type * from "./native/addon.js";
export {
  type BenchDevice,
  type BenchProductResult,
  type BenchProductSpec,
  benchLimits,
  benchProduct,
  type MachineLimits,
} from "./native/bench.js";
export { nativeDevice } from "./native/device.js";
export { type DeviceInfo, type MachineInfo, machine } from "./native/machine.js";
export type * from "./native/model-source.js";
export { type Purpose, randomUniform } from "./philox.js";
export { type PlotOptions, plotFolders } from "./plot/plot-folders.js";
export type { ManyVectors, Policy, WeightTraining } from "./policy.js";
export type { Prompt } from "./prompt.js";
export { type Grade, grade, sameAnswer } from "./reward/answer.js";
export type { NamedReward, Reward } from "./reward/reward.js";
export { type RunInfo, readRunInfo } from "./run/run-info.js";
export type { Settings } from "./sweep/grid.js";
export type { Member } from "./sweep/member.js";
export type { Candidate, MemberResult, SettingResult, SweepResults } from "./sweep/results-file.js";
export { readResults } from "./sweep/results-file.js";
export {
  DEFAULT_POPULATION,
  type MemberReport,
  runSweep,
  type SweepOptions,
  type SweepOutcome,
} from "./sweep/run-sweep.js";
export { checkSources } from "./sweep/sources.js";
export { planSweep, type SweepPlan, type SweepSpec } from "./sweep/sweep-file.js";
export { GrpoTrainer, type GrpoTrainerOptions, type TrainerOptions } from "./train/grpo-trainer.js";
export { makeTrained } from "./train/make-trained.js";
export { Population, type PopulationEngine, type PopulationMember } from "./train/population.js";
export type { Progress, ProgressListener } from "./train/progress.js";
export { type Comparison, type Replay, type ReplayOptions, replayStep } from "./train/replay.js";
export type { Measured, Metrics } from "./train/reported.js";
export type { StepReport, TrainCallbacks, TrainResult } from "./train/run.js";
export { SftTrainer, type SftTrainerOptions } from "./train/sft-trainer.js";
export type { TrainablePolicy, Trained } from "./train/trainable.js";
export { packageVersion } from "./version.js";
