//! The values of a user, and their validation.

use std::{collections::BTreeSet, str::FromStr};

use email_address::EmailAddress;
use precis_profiles::{UsernameCaseMapped, precis_core::profile::Profile};
use uuid::Uuid;

use crate::{
    engine::{PasswordHash, User},
    types::Time,
};

const MAX_USERNAME_CHARS: usize = 64;
const MAX_EMAIL_BYTES: usize = 254;
const MAX_PASSWORD_BYTES: usize = 128;
const MAX_ROLES: usize = 16;
const MAX_ROLE_BYTES: usize = 32;

/// A user to create.
#[derive(Clone, Default)]
pub struct NewUser {
    /// See [`User::username`].
    pub username: String,
    /// See [`User::email`].
    pub email: String,
    /// Empty: the user cannot log in with a password.
    pub password: String,
}

/// Changes of a user. `None` leaves a value unchanged.
#[derive(Clone, Default)]
pub struct UserUpdate {
    /// See [`User::username`].
    pub username: Option<String>,
    /// See [`User::email`].
    pub email: Option<String>,
    /// Empty: the user can no longer log in with a password.
    pub password: Option<String>,
    /// See [`User::roles`].
    pub roles: Option<Vec<String>>,
    /// The revision that the update is based on. 0 accepts any revision.
    pub expected_revision: u64,
}

/// A request field has an invalid value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidField {
    /// Name of the field in the request.
    pub field: &'static str,
    /// What the value must be.
    pub reason: String,
}

impl InvalidField {
    /// An invalid `field`, and what its value must be.
    #[must_use]
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

/// Parses a user id in its canonical form with hyphens (RFC 9562, section 4). Braces, a URN and bare digits are refused.
#[must_use]
pub fn parse_id(id: &str) -> Option<Uuid> {
    const LEN: usize = uuid::fmt::Hyphenated::LENGTH;
    if id.len() == LEN { id.parse().ok() } else { None }
}

/// The canonical form in which a username is compared. `None` if the username is invalid.
#[must_use]
pub fn login_key(username: &str) -> Option<String> {
    Username::new(username).ok().map(|name| name.key)
}

/// A username, and its canonical form, which is unique: RFC 8265, `UsernameCaseMapped`.
#[derive(Debug, Clone)]
pub(super) struct Username {
    pub(super) given: String,
    pub(super) key: String,
}

impl Username {
    pub(super) fn new(given: &str) -> Result<Self, InvalidField> {
        let invalid = |reason: String| InvalidField::new("username", reason);
        // Before the library is called, to bound its work.
        if given.is_empty() || given.chars().nth(MAX_USERNAME_CHARS).is_some() {
            return Err(invalid(format!("must have 1 to {MAX_USERNAME_CHARS} characters")));
        }
        let key = UsernameCaseMapped::new().enforce(given).map_err(|_| {
            invalid(
                "must consist of letters, digits and ASCII punctuation, without spaces (RFC 8265, UsernameCaseMapped)"
                    .into(),
            )
        })?;
        if key.chars().nth(MAX_USERNAME_CHARS).is_some() {
            return Err(invalid(format!("must have at most {MAX_USERNAME_CHARS} characters in its canonical form")));
        }
        Ok(Self { given: given.to_owned(), key: key.into_owned() })
    }
}

/// An email address, and the form in which it is unique: in ASCII lower case. May be empty.
#[derive(Debug, Clone)]
pub(super) struct Email {
    pub(super) given: String,
    pub(super) key: String,
}

impl Email {
    pub(super) fn new(given: &str) -> Result<Self, InvalidField> {
        if given.len() > MAX_EMAIL_BYTES {
            return Err(InvalidField::new("email", format!("must have at most {MAX_EMAIL_BYTES} bytes")));
        }
        if !given.is_empty() && (given.contains(char::is_control) || EmailAddress::from_str(given).is_err()) {
            return Err(InvalidField::new("email", "must be an email address, or empty"));
        }
        Ok(Self { given: given.to_owned(), key: given.to_ascii_lowercase() })
    }
}

pub(super) fn check_password(given: &str) -> Result<(), InvalidField> {
    if given.len() > MAX_PASSWORD_BYTES {
        return Err(InvalidField::new("password", format!("must have at most {MAX_PASSWORD_BYTES} bytes")));
    }
    Ok(())
}

/// Validates roles. Returns each once, in alphabetical order.
pub fn roles(given: Vec<String>) -> Result<Vec<String>, InvalidField> {
    if given.len() > MAX_ROLES {
        return Err(InvalidField::new("roles", format!("must be at most {MAX_ROLES}")));
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    let is_role = |role: &String| (1..=MAX_ROLE_BYTES).contains(&role.len()) && role.bytes().all(allowed);
    if !given.iter().all(is_role) {
        return Err(InvalidField::new("roles", format!("must each have 1 to {MAX_ROLE_BYTES} of a-z 0-9 _ -")));
    }
    Ok(BTreeSet::from_iter(given).into_iter().collect())
}

/// The validated values of a new user, without the password.
#[derive(Debug, Clone)]
pub(super) struct CheckedFields {
    pub(super) username: Username,
    pub(super) email: Email,
}

/// Validates a new user. Returns the password separately.
pub(super) fn check(new: NewUser) -> Result<(CheckedFields, String), InvalidField> {
    let username = Username::new(&new.username)?;
    let email = Email::new(&new.email)?;
    check_password(&new.password)?;
    Ok((CheckedFields { username, email }, new.password))
}

impl CheckedFields {
    /// The user to store, with a new id.
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

/// The validated values of an update, without the password.
pub(super) struct CheckedUpdate {
    pub(super) username: Option<Username>,
    pub(super) email: Option<Email>,
    roles: Option<Vec<String>>,
}

/// Validates an update. Returns the password separately.
pub(super) fn check_update(update: UserUpdate) -> Result<(CheckedUpdate, Option<String>), InvalidField> {
    let username = update.username.as_deref().map(Username::new).transpose()?;
    let email = update.email.as_deref().map(Email::new).transpose()?;
    let roles = update.roles.map(roles).transpose()?;
    update.password.as_deref().map(check_password).transpose()?;
    Ok((CheckedUpdate { username, email, roles }, update.password))
}

impl CheckedUpdate {
    pub(super) fn is_empty(&self) -> bool {
        self.username.is_none() && self.email.is_none() && self.roles.is_none()
    }

    pub(super) fn apply(&self, user: &mut User) {
        if let Some(Username { given, key }) = self.username.clone() {
            (user.username, user.username_key) = (given, key);
        }
        if let Some(Email { given, key }) = self.email.clone() {
            (user.email, user.email_key) = (given, key);
        }
        if let Some(roles) = self.roles.clone() {
            user.roles = roles;
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
        assert!(Username::new(&"ä".repeat(64)).is_ok(), "the limit counts characters, not bytes");
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
