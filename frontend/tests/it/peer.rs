//! The same texts read by another parser, on the part of the language that it knows: no heredocs, mounts or directives.

use dockerfile_parser::{Instruction as Theirs, ShellOrExecExpr};
use proptest::prelude::*;
use rbuild_frontend::dockerfile;
use rbuild_frontend::dockerfile::instruction::{Form, Instruction as Ours, InstructionKind};
use rbuild_model::span::Source;

/// Says what an instruction is, in words that both parsers have.
fn theirs(instruction: &Theirs) -> String {
    let command = |expr: &ShellOrExecExpr| match expr {
        ShellOrExecExpr::Shell(text) => format!("shell {}", text.to_string().trim()),
        ShellOrExecExpr::Exec(argv) => format!("exec {:?}", argv.as_str_vec()),
    };
    match instruction {
        Theirs::From(from) => {
            format!("FROM {} {:?}", from.image, from.alias.as_ref().map(|alias| alias.content.clone()))
        }
        Theirs::Arg(arg) => {
            format!("ARG {} {:?}", arg.name, arg.value.as_ref().map(|value| value.content.clone()))
        }
        Theirs::Label(label) => label.labels.iter().fold("LABEL".to_owned(), |text, label| {
            format!("{text} {:?}={:?}", label.name.content, label.value.content)
        }),
        Theirs::Run(run) => format!("RUN {}", command(&run.expr)),
        Theirs::Entrypoint(entrypoint) => format!("ENTRYPOINT {}", command(&entrypoint.expr)),
        Theirs::Cmd(cmd) => format!("CMD {}", command(&cmd.expr)),
        Theirs::Copy(copy) => {
            let flags: Vec<String> =
                copy.flags.iter().map(|flag| format!("{}={}", flag.name, flag.value)).collect();
            let sources: Vec<&str> = copy.sources.iter().map(|source| source.content.as_str()).collect();
            format!("COPY {flags:?} {sources:?} {}", copy.destination)
        }
        Theirs::Env(env) => env.vars.iter().fold("ENV".to_owned(), |text, var| {
            format!("{text} {:?}={:?}", var.key.content, var.value.to_string())
        }),
        Theirs::Misc(misc) => {
            format!("{} {}", misc.instruction.content.to_uppercase(), misc.arguments.to_string().trim())
        }
    }
}

fn ours(instruction: &Ours) -> String {
    let command = |form: &Form| match form {
        Form::Shell(text) => format!("shell {text}"),
        Form::Exec(argv) => format!("exec {argv:?}"),
    };
    match &instruction.kind {
        InstructionKind::From(from) => {
            format!("FROM {} {:?}", from.image.value, from.name.as_ref().map(|name| name.value.clone()))
        }
        InstructionKind::Arg(arg) => {
            let one = &arg.declarations[0];
            format!("ARG {} {:?}", one.name.value, one.default.as_ref().map(|value| value.value.clone()))
        }
        InstructionKind::Label(label) => label.values.pairs.iter().fold("LABEL".to_owned(), |text, pair| {
            format!("{text} {:?}={:?}", pair.key.value, pair.value.value)
        }),
        InstructionKind::Env(env) => env.values.pairs.iter().fold("ENV".to_owned(), |text, pair| {
            format!("{text} {:?}={:?}", pair.key.value, pair.value.value)
        }),
        InstructionKind::Run(run) => format!("RUN {}", command(&run.command.form)),
        InstructionKind::Entrypoint(entrypoint) => {
            format!("ENTRYPOINT {}", command(&entrypoint.command.form))
        }
        InstructionKind::Cmd(cmd) => format!("CMD {}", command(&cmd.command.form)),
        InstructionKind::Copy(copy) => {
            let flags: Vec<String> = copy
                .from
                .iter()
                .map(|from| format!("from={}", from.value))
                .chain(copy.transfer.chown.iter().map(|owner| format!("chown={}", owner.value)))
                .collect();
            let sources: Vec<&str> = copy.transfer.paths().map(|path| path.value.as_str()).collect();
            format!("COPY {flags:?} {sources:?} {}", copy.transfer.dest.value)
        }
        _ => {
            let rest = instruction.text[instruction.keyword.value.len()..].trim();
            format!("{} {rest}", instruction.keyword.value.to_uppercase())
        }
    }
}

fn line() -> impl Strategy<Value = String> {
    let word = "[a-z][a-z0-9/._-]{0,6}";
    let argument = "[a-z0-9/.$*-]{1,5}";
    prop_oneof![
        word.prop_map(|image| format!("FROM {image}x\n")),
        (word, "[a-z]{1,5}").prop_map(|(image, name)| format!("FROM {image}x AS {name}\n")),
        ("[a-z]{1,4}", "[a-z0-9]{1,4}").prop_map(|(name, value)| format!("ARG {name}={value}\n")),
        "[a-z]{1,4}".prop_map(|name| format!("ARG {name}\n")),
        prop::collection::vec(argument, 1..4).prop_map(|words| format!("RUN x {}\n", words.join(" "))),
        prop::collection::vec(argument, 1..4)
            .prop_map(|words| format!("RUN x \\\n  {}\n", words.join(" \\\n# c\n "))),
        prop::collection::vec("[a-z $]{1,4}", 1..4).prop_map(|words| format!("CMD {words:?}\n")),
        prop::collection::vec("[a-z $]{1,4}", 1..4).prop_map(|words| format!("ENTRYPOINT {words:?}\n")),
        prop::collection::vec(word, 2..4).prop_map(|words| format!("COPY --from=a {}\n", words.join(" "))),
        ("[a-z]{1,4}", "[a-z0-9]{1,4}").prop_map(|(name, value)| format!("ENV {name}={value} b=c\n")),
        ("[a-z]{1,4}", "[a-z0-9]{1,4}").prop_map(|(name, value)| format!("LABEL {name}={value} b=c\n")),
        word.prop_map(|path| format!("WORKDIR /{path}\n")),
        word.prop_map(|name| format!("USER {name}\n")),
        Just("# comment\n\n".to_owned()),
    ]
}

proptest! {
    #[test]
    fn another_parser_reads_the_same(lines in prop::collection::vec(line(), 1..8)) {
        let text = format!("FROM a\n{}", lines.concat());
        let parsed = dockerfile::parse(&Source::new("Dockerfile", text.as_str()));
        prop_assert!(!parsed.has_errors(), "{:?} in {text:?}", parsed.diagnostics);
        let peer = dockerfile_parser::Dockerfile::parse(&text).unwrap();
        let expected: Vec<String> = peer.instructions.iter().map(theirs).collect();
        let actual: Vec<String> = parsed.dockerfile.instructions.iter().map(ours).collect();
        prop_assert_eq!(actual, expected, "text {:?}", text);
    }
}
