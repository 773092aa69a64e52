"""tests/workflow.py gives a step the keys that GitHub would give it, so that one without them fails here, too."""

import pytest
from workflow import Workflow

FACTS = {"github.sha": "c0ffee", "github.repository": "ada/food", "vars.REGION": "eu-central-1"}
WORKFLOW = """
jobs:
  exporting:
    steps:
      - name: Before
        run: echo "before has ${AWS_ACCESS_KEY_ID-no key} and ${AWS_REGION-no region}"
      - uses: aws-actions/configure-aws-credentials@0000
        with: {aws-region: "${{ vars.REGION }}"}
      - name: After
        run: echo "after has $AWS_SESSION_TOKEN and $AWS_REGION $AWS_DEFAULT_REGION at $AWS_ENDPOINT_URL"
  without:
    steps:
      - name: Alone
        run: echo "alone has ${AWS_ACCESS_KEY_ID-no key}"
  handing:
    env: {AWS_DEFAULT_REGION: "${{ vars.REGION }}"}
    steps:
      - uses: aws-actions/configure-aws-credentials@0000
        id: aws
        with: {aws-region: "${{ vars.REGION }}", output-credentials: true, output-env-credentials: false}
      - name: Left out
        run: echo "left out has ${AWS_ACCESS_KEY_ID-no key}"
      - name: Given
        run: echo "given has $KEY in $AWS_DEFAULT_REGION and ${AWS_REGION-no other}"
        env: {KEY: "${{ steps.aws.outputs.aws-access-key-id }}"}
  forgetting:
    steps:
      - name: Late
        run: "true"
        env: {KEY: "${{ steps.aws.outputs.aws-access-key-id }}"}
"""


@pytest.fixture
def workflow(tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.setenv(name, "of the test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://moto")
    (tmp_path / ".github/workflows").mkdir(parents=True)
    (tmp_path / ".github/workflows/ship.yml").write_text(WORKFLOW)
    return Workflow(tmp_path, "ship.yml", FACTS)


def test_the_steps_after_the_sign_in_have_its_key_and_no_other_step_of_this_or_another_job(workflow):
    assert workflow.run("exporting") == (
        "before has no key and no region\nafter has testing and eu-central-1 eu-central-1 at http://moto\n"
    )
    assert workflow.run("without") == "alone has no key\n"


def test_a_sign_in_that_exports_nothing_gives_its_key_to_the_steps_that_name_it(workflow):
    assert workflow.run("handing") == "left out has no key\ngiven has testing in eu-central-1 and no other\n"


def test_what_one_jobs_steps_have_said_another_job_does_not_know(workflow):
    workflow.run("handing")
    with pytest.raises(KeyError):
        workflow.run("forgetting")
