"""Options of instances that moto leaves out: interfaces checked as EC2 does, monitoring, placement,
CPU credits, protection from stops."""

import ipaddress
import re

from moto.ec2.models.elastic_network_interfaces import NetworkInterface

import wire
from wire import EC2Error

# API, ModifyNetworkInterfaceAttribute: an interface has groups of its own; moto adds the instance's to all of them.
all_groups = NetworkInterface.group_set.fget
NetworkInterface.group_set = property(
    lambda self: all_groups(self) if str(self.device_index or 0) == "0" else self._group_set)

BURSTABLE = ("t2.", "t3.", "t3a.", "t4g.")
PLACEMENT = {"Tenancy": "tenancy", "HostId": "hostId", "GroupName": "groupName", "Affinity": "affinity",
             "PartitionNumber": "partitionNumber"}


def interfaces(call):
    """The interfaces of RunInstances: [{name: value}]."""
    found, number = [], 1
    while f"NetworkInterface.{number}.DeviceIndex" in call.params:
        prefix = f"NetworkInterface.{number}."
        found.append({name.removeprefix(prefix): value for name, value in call.params.items()
                      if name.startswith(prefix)})
        number += 1
    return found


def check_interfaces(cloud, call):
    """API, RunInstances: NetworkInterface.N, and the limit of the type (DescribeInstanceTypes)."""
    found = interfaces(call)
    if not found:
        return False
    for name in ("SubnetId", "PrivateIpAddress", "SecurityGroupId.1"):
        if name in call.params:
            raise EC2Error("InvalidParameterCombination",
                           "Network interfaces and an instance-level subnet ID may not be specified on the same request")
    most = cloud.type(call.get("InstanceType"))["NetworkInfo"]["MaximumNetworkInterfaces"]
    if len(found) > most:
        raise EC2Error("AttachmentLimitExceeded", f"Interface count {len(found)} exceeds the limit: {most}")
    zones = set()
    for number, interface in enumerate(found, 1):
        existing = interface.get("NetworkInterfaceId")
        if existing:
            held = cloud.backend.enis.get(existing)
            if held is None:
                raise EC2Error("InvalidNetworkInterfaceID.NotFound", f"The networkInterface ID '{existing}' does not exist")
            cloud.brought.add(existing)
            if held.status == "in-use":
                raise EC2Error("InvalidNetworkInterface.InUse", f"Interface: [{existing}] in use.")
            zones.add(held.subnet.availability_zone)
            continue
        if "SubnetId" not in interface:
            if interface["DeviceIndex"] != "0":
                raise EC2Error("InvalidParameterCombination", "Each network interface requires a subnet")
            subnet = cloud.subnet_of(call)
            call.params[f"NetworkInterface.{number}.SubnetId"] = subnet.id
        else:
            subnet = cloud.backend.get_subnet(interface["SubnetId"])
        zones.add(subnet.availability_zone)
        address = interface.get("PrivateIpAddress")
        if address and ipaddress.ip_address(address) not in ipaddress.ip_network(subnet.cidr_block):
            raise EC2Error("InvalidParameterValue",
                           f"Address {address} does not fall within the subnet's address range")
    if len(zones) > 1:
        raise EC2Error("InvalidParameterCombination", "All network interfaces must be in one zone")
    # Seen on EC2 (kubernetes-sigs/cluster-api-provider-aws, issue 5594).
    tagged = {value for name, value in call.params.items() if re.fullmatch(r"TagSpecification\.\d+\.ResourceType", name)}
    if "network-interface" in tagged and all("NetworkInterfaceId" in interface for interface in found):
        raise EC2Error("InvalidParameterValue", "You cannot specify tags for network interfaces if there are no "
                       "network interfaces being created by the request")
    call.params.pop("Placement.AvailabilityZone", None)
    return True


def check_credits(kind):
    if not kind.startswith(BURSTABLE):
        raise EC2Error("InvalidParameterCombination", f"The instance type {kind} has no CPU credits")


def checked(cloud, call):
    """API, RunInstances: Placement and CreditSpecification."""
    if call.get("Placement.HostId") and call.get("Placement.Tenancy") != "host":
        raise EC2Error("InvalidParameterCombination", "A host ID needs the tenancy 'host'")
    if call.get("CreditSpecification.CpuCredits"):
        check_credits(call.get("InstanceType"))
    # moto looks for the host.
    call.placement = {name: call.params.pop(f"Placement.{name}", None) for name in PLACEMENT}


def launched(cloud, call, instance):
    placement = {name: value for name, value in getattr(call, "placement", {}).items() if value}
    kept = {"placement": placement}
    if call.get("CreditSpecification.CpuCredits"):
        kept["credits"] = call.get("CreditSpecification.CpuCredits")
    cloud.options[instance] = kept


def lay_over(cloud, item, id):
    for name, value in cloud.options.get(id, {}).get("placement", {}).items():
        wire.set_text(item, f"placement/{PLACEMENT[name]}", value)


def answer(action, **texts):
    root = wire.ET.Element(wire.tag(f"{action}Response"))
    for path, value in texts.items():
        wire.set_text(root, path.replace("__", "/"), value)
    return wire.to_bytes(root)


def monitor(cloud, call, state):
    id = call.list("InstanceId")[0]
    cloud.instance(id).monitoring_state = state
    return answer(call.action, instancesSet__item__instanceId=id, instancesSet__item__monitoring__state=state)


class Options:
    """What a cloud does with them, beside its other rules."""

    def before_MonitorInstances(self, call):
        """API, MonitorInstances. moto has none of it."""
        return monitor(self, call, "enabled")

    def before_UnmonitorInstances(self, call):
        return monitor(self, call, "disabled")

    def before_ModifyInstancePlacement(self, call):
        """API, ModifyInstancePlacement: of a stopped instance."""
        instance = self.instance(call.get("InstanceId"))
        if self.instance_state(instance) != "stopped":
            raise EC2Error("IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'stopped' state.")
        kept = self.options.setdefault(instance.id, {}).setdefault("placement", {})
        for name in PLACEMENT:
            if name in call.params:
                kept[name] = call.params[name]
        return answer(call.action, **{"return": "true"})

    def before_ModifyInstanceCreditSpecification(self, call):
        """API, ModifyInstanceCreditSpecification: what fails is in the answer."""
        id = call.get("InstanceCreditSpecification.1.InstanceId")
        if not self.instance(id).instance_type.startswith(BURSTABLE):
            item = "unsuccessfulInstanceCreditSpecificationSet__item__"
            return answer(call.action, **{
                item + "instanceId": id, item + "error__code": "InstanceCreditSpecification.NotSupported",
                item + "error__message": "The specified instance does not have CPU credits"})
        self.options.setdefault(id, {})["credits"] = call.get("InstanceCreditSpecification.1.CpuCredits")
        return answer(call.action, successfulInstanceCreditSpecificationSet__item__instanceId=id)

    def before_DescribeInstanceCreditSpecifications(self, call):
        """guide, "Burstable performance instances": t2 is standard at first, the others unlimited."""
        id = call.list("InstanceId")[0]
        kind = self.instance(id).instance_type
        credits = self.options.get(id, {}).get("credits", "standard" if kind.startswith("t2.") else "unlimited")
        return answer(call.action, instanceCreditSpecificationSet__item__instanceId=id,
                      instanceCreditSpecificationSet__item__cpuCredits=credits)
