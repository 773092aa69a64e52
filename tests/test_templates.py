"""The two stacks: created, updated and deleted in moto's CloudFormation, and their wiring, which moto does not check.

moto passes over these types: S3::BucketPolicy, IAM::OIDCProvider, ApplicationAutoScaling (both), CloudWatch::Alarm. Of
an ECS service it keeps neither load balancers, network, strategy nor deployment options; it runs no task, takes no heed
of DependsOn, and holds nobody to IAM. All of that is asserted on the templates themselves.
"""

import re

import boto3
import pytest
import yaml
from moto import mock_aws
from serving import ROOT

from deploy.doctor.roles import listed
from deploy.doctor.templates import Template, environment, target

REGION = "eu-central-1"
FOUNDATION, SERVICE = ROOT / "deploy/foundation.yaml", ROOT / "deploy/service.yaml"
REPOSITORY = {"GitHubOwner": "ada", "GitHubRepository": "food", "GitHubOwnerId": "7", "GitHubRepositoryId": "8"}
IMAGE = f"1234.dkr.ecr.{REGION}.amazonaws.com/seefood102@sha256:"
GIVEN = {"ImageUri": IMAGE + "0" * 64, "LogGroupName": "/ecs/seefood102", "BucketName": "bucket"}
CERTIFICATE = {"CertificateArn": f"arn:aws:acm:{REGION}:123456789012:certificate/{'0' * 8}-0000-0000-0000-{'0' * 12}"}


@pytest.fixture(scope="module")
def foundation():
    return Template(FOUNDATION, REPOSITORY)


@pytest.fixture(scope="module")
def service():
    return Template(SERVICE, GIVEN)


@pytest.fixture(scope="module")
def https():
    return Template(SERVICE, GIVEN | CERTIFICATE)


def statements(foundation, role):
    return [
        s
        for policy in foundation.resources[role]["Properties"]["Policies"]
        for s in policy["PolicyDocument"]["Statement"]
    ]


def container(template):
    (only,) = template.only("ECS::TaskDefinition")["ContainerDefinitions"]
    return only


# --- Wiring


def test_one_name_and_one_port_lead_from_the_balancer_to_the_app(service):
    (balanced,) = service.only("ECS::Service")["LoadBalancers"]
    assert container(service)["Image"] == GIVEN["ImageUri"]
    assert balanced["ContainerName"] == container(service)["Name"] == "seefood102"
    assert target(balanced["TargetGroupArn"]) == "TargetGroup"
    ports = [balanced["ContainerPort"], container(service)["PortMappings"][0]["ContainerPort"]]
    assert {*ports, service.only("TargetGroup")["Port"], environment(container(service))["GRADIO_SERVER_PORT"]} == {
        "7860"
    }
    text = SERVICE.read_text()
    assert [text.count(said) for said in ("7860", "/healthz", "/metrics")] == [1, 1, 1]


def test_targets_are_addresses_and_stay_with_their_visitor(service):
    group = service.only("TargetGroup")
    assert group["TargetType"] == "ip"
    assert group["HealthCheckPath"] == "/healthz"
    attributes = {attribute["Key"]: attribute["Value"] for attribute in group["TargetGroupAttributes"]}
    assert attributes["stickiness.enabled"] == "true"
    assert attributes["stickiness.type"] == "lb_cookie"  # which tests/test_replicas.py has an nginx do


def test_a_task_that_leaves_has_the_time_to_finish_and_the_balancer_drops_an_idle_connection_first(service):
    from seefood.serving.server import _SECONDS_OF_SILENCE, _SECONDS_TO_FINISH

    attributes = {one["Key"]: one["Value"] for one in service.only("TargetGroup")["TargetGroupAttributes"]}
    assert int(attributes["deregistration_delay.timeout_seconds"]) > _SECONDS_TO_FINISH
    attributes = {one["Key"]: one["Value"] for one in service.only("LoadBalancer")["LoadBalancerAttributes"]}
    assert int(attributes["idle_timeout.timeout_seconds"]) < _SECONDS_OF_SILENCE


def test_the_service_waits_for_the_listener_that_serves_and_for_its_security_rule(service, https):
    for template, listener in ((service, "HttpListener"), (https, "HttpsListener")):
        waits = template.resources["Service"]["DependsOn"]
        assert {"HttpListener", "MetricsAreNotPublic", "FromBalancerToTask"} <= set(waits)
        rule = template.resources["MetricsAreNotPublic"]["Properties"]
        assert target(rule["ListenerArn"]) == listener
        forwards = template.resources[listener]["Properties"]["DefaultActions"]
        assert [(action["Type"], target(action["TargetGroupArn"])) for action in forwards] == [
            ("forward", "TargetGroup")
        ]


def test_metrics_are_answered_with_404_by_the_balancer_itself(service):
    rule = service.only("ListenerRule")
    assert rule["Conditions"][0]["PathPatternConfig"]["Values"] == ["/metrics", "/metrics/*"]
    assert [(a["Type"], a["FixedResponseConfig"]["StatusCode"]) for a in rule["Actions"]] == [("fixed-response", "404")]


def test_with_a_certificate_http_redirects_and_without_one_nothing_listens_on_443(service, https):
    assert "HttpsListener" not in service.resources
    (action,) = https.resources["HttpListener"]["Properties"]["DefaultActions"]
    assert (action["Type"], action["RedirectConfig"]["Protocol"]) == ("redirect", "HTTPS")
    listener = https.resources["HttpsListener"]["Properties"]
    assert listener["Certificates"] == [CERTIFICATE]
    assert https.resources["HttpsToBalancer"]["Properties"]["FromPort"] == 443


def test_with_a_certificate_the_address_is_the_name_that_it_is_made_out_to():
    from cfnlint.decode import cfn_yaml

    source = cfn_yaml.load(str(SERVICE))
    (rule,) = source["Rules"].values()
    assert rule["RuleCondition"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "CertificateArn"}, ""]}]}
    assert rule["Assertions"][0]["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "DomainName"}, ""]}]}
    host = source["Outputs"]["Url"]["Value"]["Fn::Sub"][1]["Host"]
    assert host == {"Fn::If": ["HasDomain", {"Ref": "DomainName"}, source["Outputs"]["BalancerHost"]["Value"]]}


def test_only_the_balancer_reaches_the_tasks(service):
    network = service.only("ECS::Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert [target(group) for group in network["SecurityGroups"]] == ["TaskSecurityGroup"]
    assert "SecurityGroupIngress" not in service.resources["TaskSecurityGroup"]["Properties"]
    rules = [r for _, r in service.of_type("SecurityGroupIngress") if target(r["GroupId"]) == "TaskSecurityGroup"]
    assert [(target(rule["SourceSecurityGroupId"]), rule["FromPort"], rule["ToPort"]) for rule in rules] == [
        ("BalancerSecurityGroup", "7860", "7860")
    ]
    assert not any("CidrIp" in rule for rule in rules)
    (egress,) = service.resources["BalancerSecurityGroup"]["Properties"]["SecurityGroupEgress"]
    assert target(egress["DestinationSecurityGroupId"]) == "TaskSecurityGroup"


def test_a_deployment_that_fails_is_rolled_back_and_the_app_has_time_to_start(service):
    properties = service.only("ECS::Service")
    assert properties["DeploymentConfiguration"]["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert properties["HealthCheckGracePeriodSeconds"] >= container(service)["HealthCheck"]["StartPeriod"] >= 60
    assert "DesiredCount" not in properties  # it would undo what autoscaling did


def test_the_task_writes_only_to_its_temporary_folder_and_has_time_to_stop(service):
    from seefood.serving.server import _SECONDS_TO_FINISH

    assert container(service)["ReadonlyRootFilesystem"] is True
    assert [mount["ContainerPath"] for mount in container(service)["MountPoints"]] == ["/tmp"]  # noqa: S108
    assert environment(container(service))["GRADIO_TEMP_DIR"].startswith("/tmp/")  # noqa: S108
    assert container(service)["StopTimeout"] > _SECONDS_TO_FINISH
    command = container(service)["HealthCheck"]["Command"]
    assert command[:3] == ["CMD", "python", "-c"]
    assert "http://127.0.0.1:7860/healthz" in command[3]
    compile(command[3], "health", "exec")


@pytest.mark.parametrize(("cpu", "threads"), [("512", "1"), ("1024", "1"), ("4096", "4")])
def test_parameters_reach_the_task(cpu, threads):
    given = {"Cpu": cpu, "CpuArchitecture": "ARM64", "Spot": "true", "Feedback": "true"}
    template = Template(SERVICE, GIVEN | given)
    task = template.only("ECS::TaskDefinition")
    assert task["RuntimePlatform"]["CpuArchitecture"] == "ARM64"
    assert environment(container(template))["SEEFOOD_THREADS"] == threads
    assert environment(container(template))["SEEFOOD_FEEDBACK"] == "s3://bucket/feedback"
    assert template.only("ECS::Service")["CapacityProviderStrategy"][0]["CapacityProvider"] == "FARGATE_SPOT"


def test_an_existing_network_is_used_as_it_is():
    given = GIVEN | {"VpcId": "vpc-1", "SubnetIds": "subnet-1,subnet-2"}
    for more, tasks in (({}, ["subnet-1", "subnet-2"]), ({"TaskSubnetIds": "subnet-3"}, ["subnet-3"])):
        template = Template(SERVICE, given | more)
        assert not [body["Type"] for body in template.resources.values() if re.search("VPC|Subnet|Route", body["Type"])]
        assert template.only("::LoadBalancer")["Subnets"] == ["subnet-1", "subnet-2"]
        assert template.only("ECS::Service")["NetworkConfiguration"]["AwsvpcConfiguration"]["Subnets"] == tasks


# --- Rights


@pytest.mark.parametrize("role", ["PushRole", "DeployRole", "DriftRole"])
def test_github_signs_in_from_this_branch_only_by_either_form_of_its_subject(role, foundation):
    (statement,) = foundation.resources[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    condition = statement["Condition"]["StringEquals"]
    assert condition["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com"
    subjects = ["repo:ada/food:ref:refs/heads/main", "repo:ada@7/food@8:ref:refs/heads/main"]
    assert condition["token.actions.githubusercontent.com:sub"] == subjects
    old = Template(FOUNDATION, REPOSITORY | {"GitHubRepositoryId": ""}).resources[role]["Properties"]
    trusted = old["AssumeRolePolicyDocument"]["Statement"][0]["Condition"]["StringEquals"]
    assert trusted["token.actions.githubusercontent.com:sub"] == subjects[:1]


def test_the_task_has_the_foundations_two_roles_and_they_are_not_one(foundation, service):
    task = service.only("ECS::TaskDefinition")
    roles = [task[key].split("/")[1] for key in ("ExecutionRoleArn", "TaskRoleArn")]
    assert roles == [foundation.resources[name]["Properties"]["RoleName"] for name in ("ExecutionRole", "TaskRole")]
    assert len(set(roles)) == 2
    assert [listed(s["Action"]) for s in statements(foundation, "TaskRole")] == [["s3:PutObject"]]
    assert not list(service.of_type("IAM::Role"))


def test_who_looks_for_drift_may_read_this_log_and_set_metrics_of_the_apps_namespace_and_no_more(foundation):
    read, write = statements(foundation, "DriftRole")
    assert (listed(read["Action"]), target(read["Resource"])) == (["logs:FilterLogEvents"], "LogGroup")
    assert listed(write["Action"]) == ["cloudwatch:PutMetricData"]
    assert write["Condition"] == {"StringEquals": {"cloudwatch:namespace": "SeeFood102"}}
    command = yaml.safe_load((ROOT / ".github/workflows/drift.yml").read_text())["jobs"]["drift"]["steps"][-2]["run"]
    assert f"cloudwatch:{foundation.only('Logs::LogGroup')['LogGroupName']}".replace("seefood102", "$NAME") in command
    assert "--namespace SeeFood102" in command


def test_no_role_may_do_everything_or_widen_a_right(foundation):
    may = {"iam:PassRole", "iam:CreateServiceLinkedRole", "iam:GetRole", "iam:GetRolePolicy", "iam:ListRolePolicies"}
    for role, _ in foundation.of_type("IAM::Role"):
        for statement in statements(foundation, role):
            for action in listed(statement["Action"]):
                assert not re.fullmatch(r"(\w[\w-]*:)?\*", action), (role, action)
                assert not action.startswith("iam:") or action in may, (role, action)
                assert action != "iam:PassRole" or (statement["Resource"] != "*" and statement["Condition"])


def test_the_bucket_is_private_encrypted_versioned_and_spoken_to_over_tls(foundation):
    bucket = foundation.only("S3::Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    (statement,) = foundation.only("S3::BucketPolicy")["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_images_cannot_be_overwritten_and_the_last_twenty_stay(foundation):
    repository = foundation.only("ECR::Repository")
    assert repository["ImageTagMutability"] == "IMMUTABLE"
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
    assert '"countNumber": 20' in repository["LifecyclePolicy"]["LifecyclePolicyText"]


def test_the_weights_are_where_dvc_looks_for_them(foundation):
    folder = re.search(r"url = s3://[^/]+/(\S+)", (ROOT / ".dvc/config").read_text())[1]
    resources = [s["Resource"] for s in statements(foundation, "PushRole") if "s3:GetObject" in s["Action"]]
    assert resources == [f"${{Bucket.Arn}}/{folder}/*"]


# --- Scaling and watching, which moto passes over


def test_tasks_are_added_for_load_and_alarms_watch_this_service(service):
    metrics = [
        policy["TargetTrackingScalingPolicyConfiguration"]["PredefinedMetricSpecification"]["PredefinedMetricType"]
        for _, policy in service.of_type("ScalingPolicy")
    ]
    assert metrics == ["ECSServiceAverageCPUUtilization", "ALBRequestCountPerTarget"]
    limits = service.only("ScalableTarget")
    assert (limits["MinCapacity"], limits["MaxCapacity"]) == ("1", "4")
    alarms = [alarm for _, alarm in service.of_type("Alarm")]  # those of the app's own metrics: test_dashboards.py
    assert len(alarms) == 7
    assert sorted(alarm["MetricName"] for alarm in alarms if alarm.get("Namespace", "").startswith("AWS/")) == [
        "HTTPCode_Target_5XX_Count",
        "HealthyHostCount",
        "MemoryUtilization",
        "TargetResponseTime",
    ]


def test_the_log_becomes_metrics_of_this_stack(service):
    given = {variable["Name"]: variable["Value"] for variable in container(service)["Environment"]}
    wanted = {"SEEFOOD_LOG": "json", "SEEFOOD_METRICS_NAMESPACE": "SeeFood102", "SEEFOOD_SERVICE": "seefood102"}
    assert given.items() >= wanted.items()
    assert container(service)["LogConfiguration"]["LogDriver"] == "awslogs"


# --- In moto, in the order of the workflow


@pytest.mark.filterwarnings("ignore:.*not supported by moto:UserWarning")
def test_both_stacks_are_created_updated_and_deleted(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.Session(region_name=REGION).client
        stacks = client("cloudformation")

        def parameters(values):
            return [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]

        def outputs(stack):
            (described,) = stacks.describe_stacks(StackName=stack)["Stacks"]
            assert described["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE")
            return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}

        stacks.create_stack(
            StackName="seefood102-foundation",
            TemplateBody=FOUNDATION.read_text(),
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Parameters=parameters(REPOSITORY),
        )
        made = outputs("seefood102-foundation")
        given = {name: made[name] for name in ("BucketName", "LogGroupName")}
        uri = made["RepositoryUri"] + "@sha256:"
        service = {"StackName": "seefood102-service", "RoleARN": made["ServiceRoleArn"]}
        stacks.create_stack(
            **service, TemplateBody=SERVICE.read_text(), Parameters=parameters(given | {"ImageUri": uri + "0" * 64})
        )
        live = outputs("seefood102-service")
        assert live["Url"] == f"http://{live['BalancerHost']}"
        assert live["BalancerHost"].startswith("seefood102")
        groups = client("elbv2").describe_target_groups(TargetGroupArns=[live["TargetGroupArn"]])["TargetGroups"]
        assert [(group["TargetType"], group["Port"]) for group in groups] == [("ip", 7860)]

        stacks.update_stack(
            **service,
            TemplateBody=SERVICE.read_text(),
            Parameters=parameters(given | {"ImageUri": uri + "1" * 64}),
        )
        outputs("seefood102-service")
        # Of the second revision moto keeps nothing but that there is one, and it leaves the service at the first.
        assert client("ecs").list_task_definitions()["taskDefinitionArns"][0].endswith("/seefood102:2")
        (described,) = stacks.describe_stacks(StackName="seefood102-service")["Stacks"]
        assert {"ParameterKey": "ImageUri", "ParameterValue": uri + "1" * 64} in described["Parameters"]

        # moto's CloudFormation never deletes a route table, and then refuses to delete its VPC.
        ec2 = client("ec2")
        for table in ec2.describe_route_tables()["RouteTables"]:
            if not any(association["Main"] for association in table["Associations"]):
                for association in table["Associations"]:
                    ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
                ec2.delete_route_table(RouteTableId=table["RouteTableId"])
        for stack in ("seefood102-service", "seefood102-foundation"):
            stacks.delete_stack(StackName=stack)
        left = [s["StackName"] for s in stacks.list_stacks()["StackSummaries"] if s["StackStatus"] != "DELETE_COMPLETE"]
        assert left == []
        assert client("elbv2").describe_load_balancers()["LoadBalancers"] == []
        assert client("ecr").describe_repositories()["repositories"] == []
