//! EC2's rules, also with faults below the SDK and behind the decorator that makes them.

use std::sync::Arc;

use replant::provider::faulty::{Faults, Faulty};
use serde_json::{Value, json};

use super::super::conformance::{Subject, conforms};
use super::super::ec2::Cloud;
use super::{subject, subject_of};

conforms!(subject);

/// A cloud of which some calls fail, and how: the SDK repeats them, the provider finds out what an
/// attempt whose reply was lost has done, and nobody notices.
fn with_faults(faults: &Value) -> Subject {
    let cloud = Cloud::new(json!({ "delay": 0.6 }));
    cloud.set(&json!({ "faults": faults }));
    subject_of(cloud)
}

mod throttled {
    use super::*;

    fn subject() -> Subject {
        with_faults(&json!({ "seed": 3, "throttled": 160 }))
    }

    conforms! { subject:
        tokens_make_one_volume tokens_make_one_instance the_root_is_swapped an_image_is_launched_with_its_volumes
    }
}

mod faults_of_seed_1 {
    use super::*;

    fn subject() -> Subject {
        with_faults(&json!({ "seed": 1, "throttled": 50, "unavailable": 50, "lost": 80 }))
    }

    conforms!(subject);
}

mod faults_of_seed_2 {
    use super::*;

    fn subject() -> Subject {
        with_faults(&json!({ "seed": 2, "throttled": 50, "unavailable": 50, "lost": 80 }))
    }

    conforms!(subject);
}

mod behind_faulty {
    use super::*;

    fn subject() -> Subject {
        let subject = super::subject();
        Subject { provider: Arc::new(Faulty::new(subject.provider, Faults::default())), ..subject }
    }

    conforms! { subject: devices_are_proven snapshots_hold_the_moment instances_live }
}
