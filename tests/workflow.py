"""Runs the steps of a workflow's jobs here as GitHub would: with its shell, its expressions and its files of outputs.

Of expressions it knows those in its context, word for word. Of actions (`uses:`) it knows the one that signs in to AWS;
the others are passed over.
"""

import os
import re
import subprocess

import yaml

SIGN_IN = "aws-actions/configure-aws-credentials@"
KEY = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), "testing")  # moto takes any


class StepError(Exception):
    """A step ended with another status than 0; the text is what the job printed."""

    def __init__(self, step, printed):
        super().__init__(f"{step}:\n{printed}")
        self.step = step


class Workflow:
    """The jobs of one workflow file, run one after the other in one checkout.

    Of AWS a step has what the workflow gives it, and the address of the simulation.

    workflow = Workflow(checkout, "deploy.yml", {"github.sha": "abc"})
    workflow.run("build", {"BUILDER": "buildah"}, without=["Install"])
    """

    def __init__(self, checkout, name, context):
        self.checkout = checkout
        self._jobs = yaml.safe_load((checkout / ".github/workflows" / name).read_text())["jobs"]
        self.context = dict(context)

    def run(self, job, variables=None, *, without=(), before=None, given=None):
        """What the job's steps print, but for those that are named `without`; `variables` override the job's.

        By the name of a step, `before` has what is to be called before it, and `given` what overrides its own.

        Raises:
            StepError: a step failed; those that are for this case (`if: failure()`) have run.
        """
        content = self._jobs[job]
        self.context = {name: value for name, value in self.context.items() if not name.startswith("steps.")}
        printed, failed, exported = "", None, {}
        for step in content["steps"]:
            if step.get("uses", "").startswith(SIGN_IN) and not failed:
                exported = self._sign_in(step)
            is_for_failure = step.get("if") == "failure()"
            if "run" not in step or step["name"] in without or is_for_failure != (failed is not None):
                continue
            (before or {}).get(step["name"], lambda: None)()
            written = self._evaluated(content.get("env", {})) | exported | self._evaluated(step.get("env", {}))
            done = self._step(step, written | (variables or {}) | (given or {}).get(step["name"], {}))
            printed += done.stdout
            if done.returncode and not failed:
                failed = step["name"]
        if failed:
            raise StepError(failed, printed)
        for name, value in content.get("outputs", {}).items():
            self.context[f"needs.{job}.outputs.{name}"] = self._value(value)
        return printed

    def _sign_in(self, step):
        """The variables that the job's later steps have from it; a key in its outputs, if it is asked for one there."""
        options, region = step["with"], self._value(step["with"]["aws-region"])
        if options.get("output-credentials"):
            for name, value in KEY.items():
                self.context[f"steps.{step['id']}.outputs.{name.lower().replace('_', '-')}"] = value
        exports = options.get("output-env-credentials", True)
        return {**KEY, "AWS_REGION": region, "AWS_DEFAULT_REGION": region} if exports else {}

    def _step(self, step, variables):
        outputs, summary = self.checkout / "outputs.txt", self.checkout / "summary.txt"
        outputs.write_text("")
        files = {"GITHUB_OUTPUT": str(outputs), "GITHUB_STEP_SUMMARY": str(summary)}
        facts = {"GITHUB_SHA": self.context["github.sha"], "GITHUB_REPOSITORY": self.context["github.repository"]}
        options = ["--noprofile", "--norc", "-eo", "pipefail"] if step.get("shell") == "bash" else ["-e"]
        here = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AWS_") or name == "AWS_ENDPOINT_URL"
        }
        done = subprocess.run(
            ["bash", *options, "-c", self._value(step["run"])],
            cwd=self.checkout,
            env=here | variables | files | facts,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for line in outputs.read_text().splitlines():
            name, _, value = line.partition("=")
            self.context[f"steps.{step['id']}.outputs.{name}"] = value
        return done

    def _evaluated(self, values):
        return {name: self._value(value) for name, value in values.items()}

    def _value(self, text):
        return re.sub(r"\$\{\{ (.+?) \}\}", lambda found: self.context[found[1]], str(text))
