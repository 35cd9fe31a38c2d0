//! `rialto users`: a client of a running hub.

use std::{error::Error, io::Read};

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use jiff::Timestamp;
use rialto_client::Hub;
use serde_json::{Value, json};

use super::{
    client::{Connection, explain},
    outcome::Outcome,
    runtime::runtime,
};
use crate::{
    proto::user::{
        CreateUserRequest, DeleteUserRequest, GetUserRequest, ListUsersRequest, Roles, UpdateUserRequest, User,
        user_service_client::UserServiceClient,
    },
    users::parse_id,
};

/// List, create, update and delete users.
#[derive(Debug, Args)]
pub(super) struct Users {
    #[command(flatten)]
    connection: Connection,
    /// Print JSON, one object per line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List users in the order of their creation.
    List {
        /// Maximum number of users; 0 lists all.
        #[arg(long, default_value_t = 0)]
        limit: i32,
        /// Start after the user with this id.
        #[arg(long, value_name = "ID", default_value = "")]
        after: String,
    },
    /// Create a user.
    Create {
        /// 1 to 64 letters, digits and punctuation, without spaces.
        username: String,
        /// Email address; empty for none.
        #[arg(long, default_value = "")]
        email: String,
        /// Read the password from standard input. A user without a password cannot log in.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Show a user.
    Get {
        /// An id or a username.
        user: String,
    },
    /// Change the given fields of a user.
    Update {
        /// An id or a username.
        user: String,
        /// The new username.
        #[arg(long)]
        username: Option<String>,
        /// New email address; empty removes it.
        #[arg(long)]
        email: Option<String>,
        /// All roles, separated by commas; empty removes all.
        #[arg(long, value_delimiter = ',')]
        roles: Option<Vec<String>>,
        /// Read the new password from standard input; an empty one removes it, so that the user cannot log in.
        #[arg(long)]
        password_stdin: bool,
        /// Update only if the user still has this revision; 0 updates any.
        #[arg(long, value_name = "REVISION", default_value_t = 0)]
        if_revision: u64,
    },
    /// Delete a user.
    Delete {
        /// An id or a username.
        user: String,
    },
}

type Client = UserServiceClient<Hub>;

impl Users {
    pub(super) fn run(self) -> Outcome {
        let users = runtime()?
            .block_on(async { call(UserServiceClient::new(self.connection.open().await?), self.verb).await })?;
        match (users, self.json) {
            (Some(users), true) => users.iter().for_each(|user| println!("{}", to_json(user))),
            (Some(users), false) => println!("{}", to_table(&users)),
            (None, _) => {}
        }
        Ok(())
    }
}

/// Makes the call, and returns the users to print.
async fn call(mut client: Client, verb: Verb) -> Result<Option<Vec<User>>, Box<dyn Error>> {
    let one = |user: tonic::Response<User>| Some(vec![user.into_inner()]);
    Ok(match verb {
        Verb::List { limit, after } => {
            let request = ListUsersRequest { page_size: limit, page_token: after, watch: false };
            let mut list = client.list_users(request).await.map_err(|status| explain(&status))?.into_inner();
            let mut users = Vec::new();
            while let Some(user) = list.message().await.map_err(|status| explain(&status))? {
                users.push(user);
            }
            Some(users)
        }
        Verb::Create { username, email, password_stdin } => {
            let password = password(password_stdin)?.unwrap_or_default();
            one(client
                .create_user(CreateUserRequest { username, email, password })
                .await
                .map_err(|status| explain(&status))?)
        }
        Verb::Get { user } => one(client.get_user(named(user)).await.map_err(|status| explain(&status))?),
        Verb::Update { user, username, email, roles, password_stdin, if_revision } => {
            let request = UpdateUserRequest {
                id: id(&mut client, user).await?,
                username,
                email,
                password: password(password_stdin)?,
                expected_revision: if_revision,
                roles: roles.map(|roles| Roles { values: roles.into_iter().filter(|role| !role.is_empty()).collect() }),
            };
            one(client.update_user(request).await.map_err(|status| explain(&status))?)
        }
        Verb::Delete { user } => {
            let id = id(&mut client, user).await?;
            client.delete_user(DeleteUserRequest { id }).await.map_err(|status| explain(&status))?;
            None
        }
    })
}

fn named(user: String) -> GetUserRequest {
    if parse_id(&user).is_some() {
        GetUserRequest { id: user, username: String::new() }
    } else {
        GetUserRequest { id: String::new(), username: user }
    }
}

async fn id(client: &mut Client, user: String) -> Result<String, String> {
    let request = named(user);
    if request.id.is_empty() {
        return client.get_user(request).await.map(|user| user.into_inner().id).map_err(|status| explain(&status));
    }
    Ok(request.id)
}

fn password(from_stdin: bool) -> std::io::Result<Option<String>> {
    if !from_stdin {
        return Ok(None);
    }
    let mut password = String::new();
    std::io::stdin().read_to_string(&mut password)?;
    Ok(Some(password.trim_end_matches(['\r', '\n']).to_owned()))
}

fn to_json(user: &User) -> Value {
    json!({
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "roles": user.roles,
        "revision": user.revision,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    })
}

fn to_table(users: &[User]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["id", "username", "email", "roles", "created", "revision"]);
    for user in users {
        let created = Timestamp::from_second(user.created_at).map(|time| time.to_string()).unwrap_or_default();
        let revision = user.revision.to_string();
        table.add_row([&user.id, &user.username, &user.email, &user.roles.join(" "), &created, &revision]);
    }
    table
}
