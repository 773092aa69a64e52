"""The foundation stack, as an administrator leaves it, in moto's account."""

import ast
import json

from serving import ROOT

GITHUB = {"GitHubOwner": "ada", "GitHubRepository": "food", "GitHubOwnerId": "7", "GitHubRepositoryId": "8"}


def create_foundation(session, template=ROOT / "deploy/foundation.yaml"):
    """Create the stack, and the role that ECS makes for itself; returns the stack's outputs."""
    stacks, iam = session.client("cloudformation"), session.client("iam")
    stacks.create_stack(
        StackName="seefood102-foundation",
        TemplateBody=template.read_text(),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in GITHUB.items()],
    )
    which = {"RoleName": "seefood102-execution", "PolicyName": "start"}
    written = iam.get_role_policy(**which)["PolicyDocument"]
    if isinstance(written, str):  # moto's CloudFormation writes it as Python would, and not as JSON
        iam.put_role_policy(**which, PolicyDocument=json.dumps(ast.literal_eval(written)))
    # moto's create_service_linked_role gives it another name than AWS does.
    role = {"RoleName": "AWSServiceRoleForECS", "Path": "/aws-service-role/ecs.amazonaws.com/"}
    iam.create_role(**role, AssumeRolePolicyDocument="{}")
    (stack,) = stacks.describe_stacks(StackName="seefood102-foundation")["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
