//! `rbuild login` and `rbuild logout`.
//!
//! A password is asked for without being shown, or read from standard input; it goes to the registry and to where Docker's
//! `config.json` says that passwords are kept, and nowhere else.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;

use anyhow::Context as _;
use rbuild_image::distribution::{Credential, registry_name};

use crate::cli::registry::{Login, Logout};
use crate::commands::{Context, Outcome};
use crate::report::{Mistake, Status};
use crate::wiring::logins::{Keeper, verify};

/// The most bytes of a password.
const MOST: u64 = 64 << 10;

pub(in crate::commands) fn login(arguments: &Login, context: &Context) -> Outcome {
    let registry = arguments.server.as_deref().map_or_else(|| "docker.io".to_owned(), registry_name);
    if registry.is_empty() {
        return Err(Mistake::usage("the name of the registry is empty").into());
    }
    if arguments.password.is_some() && arguments.password_stdin {
        return Err(Mistake::usage("`--password` and `--password-stdin` exclude each other").into());
    }
    if arguments.password_stdin && arguments.username.is_none() {
        return Err(Mistake::usage("`--password-stdin` needs `--username`").into());
    }
    if arguments.password.is_some() {
        context
            .terminal
            .tell("warning: `--password` is seen by everybody on this machine: use `--password-stdin`\n");
    }
    let keeper = Keeper::open(&context.settings)?;
    let given = arguments.username.is_some() || arguments.password.is_some();
    let known = if given { None } else { keeper.known(&registry)? };
    if let Some(known) = known {
        let user = match &known {
            Credential::Password { username, .. } => username.as_str(),
            Credential::IdentityToken(_) | Credential::RegistryToken(_) => "<token>",
        };
        context
            .terminal
            .print(&format!("Authenticating with existing credentials... [Username: {user}]\n"))?;
        verify(&context.settings, &registry, known)?;
        context.terminal.print("Login Succeeded\n")?;
        return Ok(Status::Done);
    }
    let credential = asked(arguments, &registry)?;
    let kept = verify(&context.settings, &registry, credential)?;
    let place = keeper.keep(&registry, &kept)?;
    if let Some(file) = place {
        context.terminal.tell(&unencrypted(&file));
    }
    context.terminal.print("Login Succeeded\n")?;
    Ok(Status::Done)
}

fn unencrypted(file: &Path) -> String {
    format!(
        "warning: the credentials are stored unencrypted in `{}`\nhint: name a credential helper there: \"credsStore\": \"NAME\"\n",
        file.display()
    )
}

/// Reads user and password from flags, from standard input, or from whoever sits there.
fn asked(arguments: &Login, registry: &str) -> anyhow::Result<Credential> {
    let from_stdin = arguments.password_stdin;
    let asks = arguments.username.is_none() || (arguments.password.is_none() && !from_stdin);
    if asks && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Mistake::new("cannot ask for user and password: there is no terminal")
            .hint(format!(
                "use `--username USER --password-stdin`, as in `rbuild login -u USER --password-stdin {registry} < FILE`"
            ))
            .into());
    }
    let terminal = console::Term::stderr();
    let username = match &arguments.username {
        Some(name) => name.clone(),
        None => {
            terminal.write_str(&format!("Username for {registry}: "))?;
            terminal.read_line()?.trim().to_owned()
        }
    };
    let password = match &arguments.password {
        Some(password) => password.clone(),
        None if from_stdin => {
            let mut text = String::new();
            io::stdin()
                .take(MOST)
                .read_to_string(&mut text)
                .context("failed to read the password from standard input")?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        None => {
            terminal.write_str("Password: ")?;
            terminal.read_secure_line()?
        }
    };
    if username.is_empty() || password.is_empty() {
        return Err(Mistake::new("user and password must not be empty").into());
    }
    if username.contains(':') {
        return Err(Mistake::new("the name of a user holds no colon").into());
    }
    Ok(Credential::Password { username, password })
}

pub(in crate::commands) fn logout(arguments: &Logout, context: &Context) -> Outcome {
    let registry = arguments.server.as_deref().map_or_else(|| "docker.io".to_owned(), registry_name);
    let keeper = Keeper::open(&context.settings)?;
    let text = if keeper.forget(&registry)? {
        format!("Removing login credentials for {registry}\n")
    } else {
        format!("Not logged in to {registry}\n")
    };
    context.terminal.print(&text)?;
    Ok(Status::Done)
}
