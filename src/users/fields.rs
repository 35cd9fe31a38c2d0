//! What the values of a user may be.

use std::{collections::BTreeSet, str::FromStr};

use email_address::EmailAddress;
use precis_profiles::{UsernameCaseMapped, precis_core::profile::Profile};
use uuid::Uuid;

use super::NewUser;
use crate::engine::{PasswordHash, User};
use crate::types::Time;

/// A value that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidField {
    /// The field, named as in the request.
    pub field: &'static str,
    /// What it must be.
    pub reason: String,
}

impl InvalidField {
    /// Says what a field must be.
    #[must_use]
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

const USERNAME_CHARS: usize = 64;
const EMAIL_BYTES: usize = 254;
const PASSWORD_BYTES: usize = 128;
const ROLES: usize = 16;
const ROLE_BYTES: usize = 32;

/// A username, and the form in which it is unique: RFC 8265, `UsernameCaseMapped`.
#[derive(Debug, Clone)]
pub(super) struct Username {
    pub(super) given: String,
    pub(super) key: String,
}

impl Username {
    pub(super) fn new(given: &str) -> Result<Self, InvalidField> {
        let invalid = |reason: String| InvalidField::new("username", reason);
        // Before the library is asked, so that its work is bounded.
        if given.is_empty() || given.chars().nth(USERNAME_CHARS).is_some() {
            return Err(invalid(format!("must have 1 to {USERNAME_CHARS} characters")));
        }
        let key = UsernameCaseMapped::new().enforce(given).map_err(|_| {
            invalid("must be letters, digits and ASCII signs, without spaces (RFC 8265, UsernameCaseMapped)".into())
        })?;
        if key.chars().nth(USERNAME_CHARS).is_some() {
            return Err(invalid(format!("must have at most {USERNAME_CHARS} characters in its canonical form")));
        }
        Ok(Self { given: given.to_owned(), key: key.into_owned() })
    }
}

/// An email address, and the form in which it is unique: without regard to ASCII case. May be empty.
#[derive(Debug, Clone)]
pub(super) struct Email {
    pub(super) given: String,
    pub(super) key: String,
}

impl Email {
    pub(super) fn new(given: &str) -> Result<Self, InvalidField> {
        if given.len() > EMAIL_BYTES {
            return Err(InvalidField::new("email", format!("must have at most {EMAIL_BYTES} bytes")));
        }
        if !given.is_empty() && (given.contains(char::is_control) || EmailAddress::from_str(given).is_err()) {
            return Err(InvalidField::new("email", "must be an email address, or empty"));
        }
        Ok(Self { given: given.to_owned(), key: given.to_ascii_lowercase() })
    }
}

pub(super) fn password(given: &str) -> Result<(), InvalidField> {
    if given.len() > PASSWORD_BYTES {
        return Err(InvalidField::new("password", format!("must have at most {PASSWORD_BYTES} bytes")));
    }
    Ok(())
}

/// Roles in a fixed order, each once.
pub fn roles(given: Vec<String>) -> Result<Vec<String>, InvalidField> {
    if given.len() > ROLES {
        return Err(InvalidField::new("roles", format!("must be at most {ROLES}")));
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    let is_role = |role: &String| (1..=ROLE_BYTES).contains(&role.len()) && role.bytes().all(allowed);
    if !given.iter().all(is_role) {
        return Err(InvalidField::new("roles", format!("must each have 1 to {ROLE_BYTES} of a-z 0-9 _ -")));
    }
    Ok(BTreeSet::from_iter(given).into_iter().collect())
}

/// A new user whose values were checked, without its password.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) username: Username,
    pub(super) email: Email,
}

/// Checks a new user, and gives its password apart.
pub(super) fn check(new: NewUser) -> Result<(Checked, String), InvalidField> {
    let username = Username::new(&new.username)?;
    let email = Email::new(&new.email)?;
    password(&new.password)?;
    Ok((Checked { username, email }, new.password))
}

impl Checked {
    /// The user as it will be stored, with an id of its own.
    pub(super) fn into_user(self, password: Option<PasswordHash>) -> User {
        let now = Time::now();
        User {
            id: Uuid::now_v7(),
            username: self.username.given,
            username_key: self.username.key,
            email: self.email.given,
            email_key: self.email.key,
            password,
            roles: Vec::new(),
            revision: 1,
            created_at: now,
            updated_at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames_are_unique_by_their_canonical_form() {
        for (one, other) in [("Ada", "ada"), ("ＡＤＡ", "ada"), ("Ünal", "u\u{308}nal")] {
            assert_eq!(Username::new(one).unwrap().key, Username::new(other).unwrap().key);
        }
        assert_eq!(Username::new("Ada").unwrap().given, "Ada");
    }

    #[test]
    fn hostile_usernames_are_refused() {
        let too_long = "a".repeat(65);
        let hostile = ["", " ", "a b", "a\0b", "a\nb", "\u{202e}ada", "a\u{200b}b", "\u{feff}", "☃", too_long.as_str()];
        for name in hostile {
            assert_eq!(Username::new(name).unwrap_err().field, "username", "{name:?}");
        }
        assert!(Username::new(&"ä".repeat(64)).is_ok(), "characters count, not bytes");
    }

    #[test]
    fn an_email_is_an_address_or_empty() {
        for good in ["", "ada@example.com", "Ada.Lovelace+x@Example.COM"] {
            assert!(Email::new(good).is_ok(), "{good}");
        }
        let too_long = format!("{}@example.com", "a".repeat(250));
        for bad in
            ["ada", "@example.com", "ada@", "a b@example.com", "ada@example.com\r\nBcc: x@y.z", too_long.as_str()]
        {
            assert_eq!(Email::new(bad).unwrap_err().field, "email", "{bad:?}");
        }
        assert_eq!(Email::new("Ada@Example.com").unwrap().key, "ada@example.com");
    }

    #[test]
    fn roles_are_few_short_and_plain() {
        assert_eq!(roles(vec!["b".into(), "a-1_x".into(), "b".into()]).unwrap(), ["a-1_x", "b"]);
        for bad in
            [vec![String::new()], vec!["Admin".into()], vec!["a b".into()], vec!["a".repeat(33)], vec!["a".into(); 17]]
        {
            assert_eq!(roles(bad).unwrap_err().field, "roles");
        }
    }
}
