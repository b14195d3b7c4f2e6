//! EC2's rules.

use super::super::conformance::conforms;
use super::subject;

conforms!(subject);
