"""Instance profiles. moto asks its IAM for them; here each name is one, unless `profiles` says which there are.

Pages as in rules.py.
"""

import uuid

import wire
from options import answer
from wire import EC2Error


class Profiles:
    """Associations of instances with profiles."""

    def __init__(self):
        super().__init__()
        # instance → (association, ARN)
        self.associations = {}

    def profile_of(self, call):
        """Name or ARN in a call; moto does not see it."""
        name, arn = call.params.pop("IamInstanceProfile.Name", None), call.params.pop("IamInstanceProfile.Arn", None)
        if self.profiles is not None and (name or arn) and (name or arn) not in self.profiles:
            raise EC2Error("InvalidParameterValue", f"Value ({name or arn}) for parameter iamInstanceProfile.name is "
                           "invalid. Invalid IAM Instance Profile name")
        return arn or (name and f"arn:aws:iam::{self.account}:instance-profile/{name}")

    def associate(self, instance, arn):
        if arn:
            self.associations[instance] = (f"iip-assoc-{uuid.uuid4().hex[:17]}", arn)

    def association(self, id):
        for instance, (association, _) in self.associations.items():
            if association == id:
                return instance
        raise EC2Error("InvalidAssociationID.NotFound", f"An invalid association-id of '{id}' was given")

    def associated(self, call, instance):
        association, arn = self.associations[instance]
        item = "iamInstanceProfileAssociation__"
        return answer(call.action, **{item + "associationId": association, item + "instanceId": instance,
                                      item + "iamInstanceProfile__arn": arn, item + "state": "associating"})

    def before_AssociateIamInstanceProfile(self, call):
        """API, AssociateIamInstanceProfile: "You cannot associate more than one"."""
        id = self.instance(call.get("InstanceId")).id
        if id in self.associations:
            raise EC2Error("IncorrectState", f"There is an existing association for instance {id}")
        self.associate(id, self.profile_of(call))
        return self.associated(call, id)

    def before_ReplaceIamInstanceProfileAssociation(self, call):
        """API, ReplaceIamInstanceProfileAssociation: of "the specified running instance"; a new id."""
        id = self.association(call.get("AssociationId"))
        if self.instance_state(self.instance(id)) != "running":
            raise EC2Error("IncorrectInstanceState", f"The instance '{id}' is not in the 'running' state.")
        self.associate(id, self.profile_of(call))
        return self.associated(call, id)

    def before_DisassociateIamInstanceProfile(self, call):
        id = self.association(call.get("AssociationId"))
        self.associations.pop(id)
        return answer(call.action, iamInstanceProfileAssociation__instanceId=id,
                      iamInstanceProfileAssociation__state="disassociating")

    def before_DescribeIamInstanceProfileAssociations(self, call):
        root = wire.ET.Element(wire.tag(call.action + "Response"))
        found = wire.ET.SubElement(root, wire.tag("iamInstanceProfileAssociationSet"))
        asked = call.filter("instance-id")
        for instance, (association, arn) in self.associations.items():
            if asked is None or instance in asked:
                item = wire.ET.SubElement(found, wire.tag("item"))
                for path, value in (("associationId", association), ("instanceId", instance),
                                    ("iamInstanceProfile/arn", arn), ("state", "associated")):
                    wire.set_text(item, path, value)
        return wire.to_bytes(root)

    def lay_over_profile(self, item, id):
        wire.remove(item, "iamInstanceProfile")
        if id in self.associations:
            wire.set_text(item, "iamInstanceProfile/arn", self.associations[id][1])
