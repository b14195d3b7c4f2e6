//! Users and groups of the guest, by the names that its own files give them.

use crate::guest::draft::Draft;

/// The databases, and what each of their lines begins with: a name, a password's place, a number.
const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// The number of a user; `None` when the guest has none of that name. A number stands for itself.
#[must_use]
pub fn user(draft: &Draft<'_>, name: &str) -> Option<u32> {
    number(draft, USERS, name)
}

/// The number of a group; `None` when the guest has none of that name. A number stands for itself.
#[must_use]
pub fn group(draft: &Draft<'_>, name: &str) -> Option<u32> {
    number(draft, GROUPS, name)
}

fn number(draft: &Draft<'_>, database: &str, name: &str) -> Option<u32> {
    let number = match name.parse() {
        Ok(number) => Some(number),
        Err(_) => find(&draft.text(database)?, name),
    };
    // The highest number means "unchanged" to chown(2).
    number.filter(|number| *number != u32::MAX)
}

fn find(database: &str, name: &str) -> Option<u32> {
    database.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        let text = "root:x:0:0:root:/root:/bin/sh\nbroken\nme:x:1000:100::/home/me:/bin/sh\nbad:x:many:1\n";
        assert_eq!(find(text, "root"), Some(0));
        assert_eq!(find(text, "me"), Some(1000));
        assert_eq!(find(text, "bad"), None);
        assert_eq!(find(text, "m"), None);
        assert_eq!(find(text, "broken"), None);
    }
}
