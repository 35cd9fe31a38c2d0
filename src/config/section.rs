//! What all sections are made of: the macro that declares one, and what is known about each setting.

use std::{
    num::{NonZeroU32, NonZeroU64, NonZeroUsize},
    ops::RangeInclusive,
};

use serde::{Deserialize, Serialize};

use super::error::Problem;

/// The longest time of most settings, about 12 days.
pub(super) const MAX_SECONDS: u64 = 1 << 20;
/// The largest count of most settings.
pub(super) const MAX_COUNT: u64 = 1 << 30;

pub(super) const KIB: usize = 1024;
pub(super) const MIB: usize = 1024 * KIB;

/// A limit that can be switched off: 0 means no limit. All other limits are plain numbers, and there 0 is just a number (most ranges exclude it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Limit(pub u64);

impl Limit {
    /// No limit.
    pub const NONE: Self = Self(0);

    /// The limit, or `None` if there is no limit.
    #[must_use]
    pub fn get(self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.0)
    }

    /// The same for a limit whose range ends at `u32::MAX`.
    #[must_use]
    pub fn get_u32(self) -> Option<NonZeroU32> {
        self.get().map(|limit| NonZeroU32::try_from(limit).unwrap_or(NonZeroU32::MAX))
    }
}

/// What is known about one setting, besides its value.
#[derive(Debug)]
pub struct Setting {
    /// Its section; empty for the settings before the first section.
    pub section: &'static str,
    /// Its name within the section.
    pub key: &'static str,
    /// The lines of its documentation.
    pub doc: &'static [&'static str],
    /// The values that a number may have; `None` if the setting is not a number.
    pub range: Option<RangeInclusive<u64>>,
}

impl Setting {
    /// The name as `--set` takes it: `section.key`.
    #[must_use]
    pub fn name(&self) -> String {
        full_name(self.section, self.key)
    }
}

/// The name of a section, the lines that describe it, and its settings.
pub(super) type Section = (&'static str, &'static [&'static str], &'static [Setting]);

pub(super) fn full_name(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// A number that can be compared with a range.
pub(super) trait Number {
    fn as_u64(&self) -> u64;
}

impl Number for u32 {
    fn as_u64(&self) -> u64 {
        u64::from(*self)
    }
}

impl Number for u64 {
    fn as_u64(&self) -> u64 {
        *self
    }
}

impl Number for usize {
    fn as_u64(&self) -> u64 {
        *self as u64
    }
}

impl Number for NonZeroUsize {
    fn as_u64(&self) -> u64 {
        self.get() as u64
    }
}

impl Number for Limit {
    fn as_u64(&self) -> u64 {
        self.0
    }
}

/// Adds a problem if `value` is outside of `range`.
pub(super) fn check_range(
    section: &str,
    key: &str,
    value: &impl Number,
    range: &RangeInclusive<u64>,
    problems: &mut Vec<Problem>,
) {
    let value = value.as_u64();
    if !range.contains(&value) {
        problems.push(Problem::of_value(full_name(section, key), value, must_be_in(range)));
    }
}

pub(super) fn must_be_in(range: &RangeInclusive<u64>) -> String {
    format!("must be a whole number from {} to {}", range.start(), range.end())
}

/// Declares a section: the struct with a `Default`, the table of its settings, and the check of their ranges.
///
/// Each setting is declared once: its documentation, its type, its default, and the range that it may have if it is a number. The block
/// `sections`, which only `Config` has, lists the sections.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident in $section:literal {
            $(
                $(#[doc = $doc:literal])*
                pub $key:ident: $type:ty = $default:expr $(, $range:expr)?;
            )*
        }
        $(sections { $($part:ident: $part_type:ident,)* })?
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $doc])* pub $key: $type,)*
            $($(#[doc = concat!("The section `[", stringify!($part), "]`.")] pub $part: $part_type,)*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($key: $default,)*
                    $($($part: $part_type::default(),)*)?
                }
            }
        }

        impl $name {
            /// The lines that describe this section.
            #[allow(dead_code, reason = "only used of sections")]
            pub(super) const ABOUT: &[&str] = &[$($about),*];

            /// The settings of this section, in the order of their declaration.
            pub(super) const SETTINGS: &[$crate::config::section::Setting] = &[$($crate::config::section::Setting {
                section: $section,
                key: stringify!($key),
                doc: &[$($doc),*],
                range: $crate::config::section::section!(@range $($range)?),
            }),*];

            /// The sections within this struct, with what describes them and their settings.
            #[allow(dead_code, reason = "only used of `Config`")]
            pub(super) const SECTIONS: &[$crate::config::section::Section] = &[$($((
                stringify!($part),
                $part_type::ABOUT,
                $part_type::SETTINGS,
            )),*)?];

            /// Adds a problem for each number that is outside of its range.
            pub(super) fn check_ranges(&self, problems: &mut Vec<$crate::config::error::Problem>) {
                let _ = &problems;
                $($(
                    $crate::config::section::check_range($section, stringify!($key), &self.$key, &($range), problems);
                )?)*
                $($(self.$part.check_ranges(problems);)*)?
            }
        }
    };
    (@range) => { None };
    (@range $range:expr) => { Some($range) };
}

pub(super) use section;
