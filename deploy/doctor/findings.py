"""What doctor can find: a stable code, what was seen, and the remedy. docs/ship.md explains each."""

from dataclasses import dataclass

REMEDIES = {
    "balancer-shut-out": "let the task's security group in from the balancer's, on the container's port",
    "bucket-not-reachable": "create the foundation stack, or give its output BucketName, and s3:ListBucket on it",
    "command-not-found": "let CMD name a file or module that the Dockerfile copies in and .dockerignore admits",
    "container-name": "name the same container in the task definition and in the service's LoadBalancers",
    "cpu-memory": "choose a pair of Cpu and Memory that Fargate has, such as 1024 and 2048",
    "execution-role": "give the execution role ecr:GetAuthorizationToken, pull on the repository, and logs rights",
    "file-missing": "name the file by its option, or write it",
    "health-command": "let the container health check call python, which is all that the image has",
    "health-path": "let target group and container ask for a path that the app serves: /healthz",
    "no-grace-period": "set HealthCheckGracePeriodSeconds to more than the app needs to start, e.g. 180",
    "no-id-token": "give the job that signs in to AWS `permissions: id-token: write`",
    "no-image": "push the image, then give its digest: --set ImageUri=REPOSITORY@sha256:...",
    "no-listener": "let the service depend on a listener (DependsOn) that leads to its target group",
    "no-log-group": "create the foundation stack, or give its output LogGroupName",
    "no-public-address": "set AssignPublicIp=ENABLED, or use private subnets with a NAT gateway",
    "no-route-to-ecr": "give the subnets a route to a NAT gateway, or endpoints of ecr.api, ecr.dkr, logs, s3",
    "no-service-linked-role": "aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com",
    "ports-differ": "use one port: Mappings of service.yaml, EXPOSE and GRADIO_SERVER_PORT of the Dockerfile",
    "starved-health-check": "give the task at least Cpu 512 and Memory 1024, and the app a minute to start",
    "subject-not-trusted": "update the foundation stack with this repository's owner, name, numbers and branch",
    "target-type": "set TargetType of the target group to ip: Fargate's tasks are no instances",
    "temporary-not-writable": "mount a volume at /tmp in the task definition, and write VOLUME /tmp in the Dockerfile",
    "wrong-architecture": "build for the task's CpuArchitecture, or set that to the image's",
}


@dataclass(frozen=True)
class Finding:
    """One way in which the service would not come up.

    assert Finding("no-image", "No image abc").remedy.startswith("push")
    """

    code: str
    what: str

    @property
    def remedy(self) -> str:
        return REMEDIES[self.code]

    def __str__(self) -> str:
        return f"{self.code}: {self.what}\n    remedy: {self.remedy}"
