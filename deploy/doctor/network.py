"""What service.yaml tells of the network: the tasks' way to ECR, and the balancer's way to the tasks."""

from collections.abc import Iterator
from typing import Any

from deploy.doctor.findings import Finding
from deploy.doctor.templates import Template, container_of, target

_ANYWHERE = "0.0.0.0/0"


def check_network(template: Template) -> Iterator[Finding]:
    network = template.only("ECS::Service").get("NetworkConfiguration", {}).get("AwsvpcConfiguration", {})
    yield from _way_out(template, network)
    yield from _security_groups(template, network)


def _way_out(template: Template, network: dict[str, Any]) -> Iterator[Finding]:
    """Of the subnets that the template makes; those that it is given are looked at in the account."""
    for subnet in filter(None, map(target, network.get("Subnets", []))):
        routes = list(_routes_out(template, subnet))
        if not routes:
            yield Finding("no-route-to-ecr", f"{subnet} has no route to an internet gateway or a NAT gateway.")
        elif not any("NatGatewayId" in route for route in routes) and network.get("AssignPublicIp") != "ENABLED":
            yield Finding("no-public-address", f"{subnet} is public, and the tasks get no public address.")


def _routes_out(template: Template, subnet: str) -> Iterator[dict[str, Any]]:
    tables = {
        target(association["RouteTableId"])
        for _, association in template.of_type("EC2::SubnetRouteTableAssociation")
        if target(association["SubnetId"]) == subnet
    }
    for _, route in template.of_type("EC2::Route"):
        gateway = target(route.get("GatewayId", route.get("NatGatewayId")))
        if gateway and target(route["RouteTableId"]) in tables and route.get("DestinationCidrBlock") == _ANYWHERE:
            yield route


def _security_groups(template: Template, network: dict[str, Any]) -> Iterator[Finding]:
    tasks = {target(group) for group in network.get("SecurityGroups", [])}
    balancers = {target(group) for group in template.only("::LoadBalancer").get("SecurityGroups", [])}
    ports = {int(mapping["ContainerPort"]) for mapping in container_of(template).get("PortMappings", [])}
    ports |= {int(balanced["ContainerPort"]) for balanced in template.only("ECS::Service").get("LoadBalancers", [])}
    for words, rules, peers in (
        ("The task's security group does not let the balancer in", _rules(template, tasks, "Ingress"), balancers),
        ("The balancer's security group does not let it out", _outward(template, balancers), tasks),
    ):
        if not any(_open(rules, port, peers) for port in ports):  # ports that differ are a finding of their own
            yield Finding("balancer-shut-out", f"{words}, on {', '.join(map(str, sorted(ports)))}.")
    if not _open(_outward(template, tasks), 443, set()):
        yield Finding("no-route-to-ecr", "The task's security group lets nothing out on 443, where ECR answers.")


def _rules(template: Template, groups: set[str], direction: str) -> list[dict[str, Any]]:
    """The rules inside of the groups, and those that are resources of their own."""
    inside = [
        rule
        for name, group in template.of_type("EC2::SecurityGroup")
        if name in groups
        for rule in group.get(f"SecurityGroup{direction}", [])
    ]
    beside = [
        rule for _, rule in template.of_type(f"EC2::SecurityGroup{direction}") if target(rule["GroupId"]) in groups
    ]
    return inside + beside


def _outward(template: Template, groups: set[str]) -> list[dict[str, Any]]:
    """A group that says nothing of it lets everything out."""
    return _rules(template, groups, "Egress") or [{"IpProtocol": "-1", "CidrIp": _ANYWHERE}]


def _open(rules: list[dict[str, Any]], port: int, peers: set[str]) -> bool:
    for rule in rules:
        peer = target(rule.get("SourceSecurityGroupId", rule.get("DestinationSecurityGroupId")))
        covered = rule["IpProtocol"] == "-1" or int(rule["FromPort"]) <= port <= int(rule["ToPort"])
        if covered and (peer in peers or rule.get("CidrIp") == _ANYWHERE):
            return True
    return False
