//! The comparison of the table with the descriptors.

use std::collections::{BTreeMap, BTreeSet};

use prost::{DecodeError, Message};
use prost_types::FileDescriptorSet;

use super::table::{METHODS, Method, Streaming};
use crate::proto;

/// The table of methods and the descriptors differ. An error of the program, not of its configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MethodsError {
    /// A set of descriptors cannot be decoded.
    #[error("the descriptors do not decode: {0}")]
    Undecodable(#[from] DecodeError),
    /// A method of the descriptors has no row.
    #[error("the method {0} has no row in rpc/methods")]
    NoRow(String),
    /// A method has two rows.
    #[error("the method {0} has two rows in rpc/methods")]
    TwoRows(&'static str),
    /// A row is about a method that no descriptor has.
    #[error("rpc/methods has a row for {0}, which no service has")]
    NoMethod(&'static str),
    /// A row has another kind of streaming than its descriptor.
    #[error("{path} has streaming {row:?} in rpc/methods and {descriptor:?} in its definition")]
    Streaming {
        /// The path of the method.
        path: &'static str,
        /// What the row says.
        row: Streaming,
        /// What the descriptor says.
        descriptor: Streaming,
    },
}

/// Compares the table with the descriptors of all services of the server.
pub(crate) fn check() -> Result<(), MethodsError> {
    compare(&METHODS, &described()?)
}

/// The methods of the descriptors, by path.
fn described() -> Result<BTreeMap<String, Streaming>, DecodeError> {
    let mut methods = BTreeMap::new();
    for set in [
        proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        for file in FileDescriptorSet::decode(set)?.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let streaming = match (method.client_streaming(), method.server_streaming()) {
                        (false, false) => Streaming::None,
                        (true, false) => Streaming::Requests,
                        (false, true) => Streaming::Responses,
                        (true, true) => Streaming::Both,
                    };
                    methods.insert(path, streaming);
                }
            }
        }
    }
    Ok(methods)
}

fn compare(rows: &[Method], described: &BTreeMap<String, Streaming>) -> Result<(), MethodsError> {
    let mut seen = BTreeSet::new();
    for &Method { path, streaming: row, .. } in rows {
        let descriptor = *described.get(path).ok_or(MethodsError::NoMethod(path))?;
        if row != descriptor {
            return Err(MethodsError::Streaming { path, row, descriptor });
        }
        if !seen.insert(path) {
            return Err(MethodsError::TwoRows(path));
        }
    }
    match described.keys().find(|path| !seen.contains(path.as_str())) {
        Some(path) => Err(MethodsError::NoRow(path.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_row_and_every_row_its_method() {
        check().unwrap();
    }

    #[test]
    fn what_differs_is_named() {
        let described = described().unwrap();
        let changed = |change: fn(&mut Vec<Method>)| {
            let mut rows = METHODS.to_vec();
            change(&mut rows);
            compare(&rows, &described).unwrap_err()
        };
        let get_user = "/user.UserService/GetUser";
        assert_eq!(changed(|rows| _ = rows.remove(0)), MethodsError::NoRow(get_user.into()));
        assert_eq!(changed(|rows| rows.push(rows[0])), MethodsError::TwoRows(get_user));
        assert_eq!(
            changed(|rows| rows[0].path = "/user.UserService/Gone"),
            MethodsError::NoMethod("/user.UserService/Gone")
        );
        let chat = changed(|rows| rows[6].streaming = Streaming::Responses);
        let (row, descriptor) = (Streaming::Responses, Streaming::Both);
        assert_eq!(chat, MethodsError::Streaming { path: "/user.UserService/Chat", row, descriptor });
    }
}
