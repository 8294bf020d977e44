"""One of several processes that train together; writes what it generated and which advantages it got."""

import json
import sys
from pathlib import Path

from accelerate import PartialState

from gdpo_bench.agent.policy import Policy
from gdpo_bench.integrations.trl import NormalizerGRPOTrainer, TRLEnvironment


class Recorded(NormalizerGRPOTrainer):
    notes: list[dict[str, object]]

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        replies = [message["content"] for (message,) in completions]
        lengths = [len(ids) for ids in completion_ids_list]
        self.notes.append({"tasks": [row["task_id"] for row in inputs], "replies": replies, "lengths": lengths})
        return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        self.notes[-1]["advantages"] = output["advantages"].tolist()
        self.notes[-1]["logged"] = list(self._logs["advantages"])
        return output


def main(folder: Path) -> None:
    policy = Policy.load(folder / "policy")
    env = TRLEnvironment("gdpo/ToolCallingMini-v1")
    args = env.config(
        str(folder / "out"),
        num_generations=4,
        per_device_train_batch_size=6,
        max_steps=2,
        max_completion_length=48,
        learning_rate=1e-3,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = Recorded(
        policy.model,
        env.reward_funcs,
        args=args,
        train_dataset=env.dataset(),
        processing_class=policy.tokenizer,
        normalizer="gdpo:scope=token,weights.format=3",
    )
    trainer.notes = []
    trainer.train()
    assert trainer.accelerator.num_processes == 2
    (folder / f"{PartialState().process_index}.json").write_text(json.dumps(trainer.notes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
