//! EC2's rules, also with throttling below the SDK and behind the decorator that makes faults.

use std::sync::Arc;

use replant::provider::faulty::{Faults, Faulty};
use serde_json::json;

use super::super::conformance::{Subject, conforms};
use super::super::ec2::Cloud;
use super::{subject, subject_of};

conforms!(subject);

mod throttled {
    use super::*;

    /// A sixth of all calls is refused as too many: the SDK repeats them, and nobody notices.
    fn subject() -> Subject {
        let cloud = Cloud::new(json!({ "delay": 0.6 }));
        cloud.set(&json!({ "faults": { "seed": 3, "throttled": 160 } }));
        subject_of(cloud)
    }

    conforms! { subject:
        tokens_make_one_volume tokens_make_one_instance the_root_is_swapped an_image_is_launched_with_its_volumes
    }
}

mod behind_faulty {
    use super::*;

    fn subject() -> Subject {
        let subject = super::subject();
        Subject { provider: Arc::new(Faulty::new(subject.provider, Faults::default())), ..subject }
    }

    conforms! { subject: devices_are_proven snapshots_hold_the_moment instances_live }
}
