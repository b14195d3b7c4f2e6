"""IAM's permissions and calls that are only tried. "API" is the EC2 API Reference."""

from wire import EC2Error


class Permissions:
    def __init__(self):
        super().__init__()
        # Actions that the caller may not do; whether its policy has conditions on tags.
        self.denied, self.conditions = set(), False
        # The instance profiles that there are; None: any.
        self.profiles = None

    def check_permission(self, call):
        """API, error codes: UnauthorizedOperation, DryRunOperation. A policy's conditions on tags are
        never met by what does not exist. API, RunInstances: a launch with a profile passes its role."""
        action = "ec2:" + call.action
        profile = call.get("IamInstanceProfile.Name", call.get("IamInstanceProfile.Arn"))
        passes = ["iam:PassRole"] if call.action == "RunInstances" and profile is not None else []
        for name in [action, *passes]:
            if name in self.denied:
                raise self.unauthorized(name)
        if call.get("DryRun") != "true":
            return
        try:
            for id in filter(None, [call.get("VolumeId"), *call.list("InstanceId"), *call.list("ResourceId")]):
                self.known(id)
        except EC2Error as missing:
            # API, "Actions, resources, and condition keys": what describes knows no conditions on tags.
            bound = self.conditions and not call.action.startswith("Describe")
            raise self.unauthorized(action) if bound else missing
        if call.action in ("CreateVolume", "RunInstances"):
            self.before(call)
        if self.profiles is not None and profile is not None and profile not in self.profiles:
            raise EC2Error("InvalidParameterValue", f"Value ({profile}) for parameter iamInstanceProfile.name is "
                           "invalid. Invalid IAM Instance Profile name")
        raise EC2Error("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)

    def unauthorized(self, action):
        return EC2Error("UnauthorizedOperation", "You are not authorized to perform this operation. User: "
                        f"arn:aws:iam::{self.account}:user/tests is not authorized to perform: {action} on "
                        f"resource: * because no identity-based policy allows the {action} action. "
                        "Encoded authorization failure message: dGVzdA", 403)
