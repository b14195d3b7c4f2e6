//! Ids of EC2's form: a prefix and 17 hexadecimal digits.

use super::failure::Failure;

const DIGITS: usize = 17;

/// A random id, `vol-0a1b…`. The first digit is 0, as it is on EC2.
pub(super) fn random(prefix: &str) -> Result<String, Failure> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::program("LocalRandom", format!("no random numbers: {error}")))?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{prefix}-0{digits}"))
}

/// Whether it is an id with this prefix. Only then may it become part of a path.
pub(super) fn is_id(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).is_some_and(|digits| {
        digits.len() == DIGITS && digits.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_ec2s_form() {
        let id = random("vol").unwrap();
        assert!(is_id("vol", &id), "{id}");
        assert_ne!(id, random("vol").unwrap());
        for wrong in [
            "vol-",
            "vol-../../../../etc",
            "i-0123456789abcdef0",
            "vol-0123456789ABCDEF0",
            "vol-0123456789abcdef",
        ] {
            assert!(!is_id("vol", wrong), "{wrong}");
        }
    }
}
