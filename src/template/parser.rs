//! Tokens to nodes.

use std::collections::BTreeMap;

use rbuild_model::span::{Span, nearest};
use serde_json::Value;

use super::functions;
use super::lexer::{self, Kind, Piece, Token};
use super::{Fault, LABEL};

/// A part of a template.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    Set {
        name: String,
        new: Binding,
        pipe: Pipe,
        span: Span,
    },
    If {
        branches: Vec<(Pipe, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
    With {
        name: Option<String>,
        pipe: Pipe,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        names: Vec<String>,
        pipe: Pipe,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    /// What was defined under a name, for a value.
    Template {
        name: String,
        pipe: Option<Pipe>,
        span: Span,
    },
    Break(Span),
    Continue(Span),
}

/// How a variable gets its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// `:=`
    Declared,
    /// `=`
    Assigned,
}

/// Commands, the value of each being the last argument of the next.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) commands: Vec<Command>,
    pub(super) span: Span,
}

/// An operand, or a function with its arguments.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) head: Operand,
    pub(super) arguments: Vec<Operand>,
    pub(super) span: Span,
}

/// A value in a command.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) base: Base,
    pub(super) fields: Vec<(String, Span)>,
    pub(super) span: Span,
}

/// Where a value begins.
#[derive(Debug)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Literal(Value),
    Nested(Box<Pipe>),
    Function(String),
}

/// A template that was read.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) nodes: Vec<Node>,
    /// What `define` and `block` gave names to.
    pub(super) named: BTreeMap<String, Vec<Node>>,
}

/// Reads a template.
pub(super) fn parse(text: &str) -> Result<Parsed, Fault> {
    let pieces = lexer::pieces(text)?.into_iter();
    let mut parser = Parser { pieces, depth: 0, named: BTreeMap::new() };
    let (nodes, end) = parser.nodes()?;
    match end {
        End::Input => Ok(Parsed { nodes, named: parser.named }),
        End::Else(_, span) => Err(Fault::new(span, "`else` without `if`, `range` or `with`")),
        End::Closed(span) => Err(Fault::new(span, "`end` without `if`, `range` or `with`")),
    }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
    named: BTreeMap<String, Vec<Node>>,
}

/// What ended a list of nodes.
enum End {
    Input,
    Else(Vec<Token>, Span),
    Closed(Span),
}

/// How deep blocks and parentheses may nest.
const DEPTH: usize = 64;

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, End), Fault> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (tokens, span) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens, span) => (tokens, span),
            };
            let word = match tokens.first().map(|token| &token.kind) {
                Some(Kind::Word(word)) => word.as_str(),
                _ => "",
            };
            match word {
                "end" => return Ok((nodes, End::Closed(span))),
                "else" => return Ok((nodes, End::Else(tokens[1..].to_vec(), span))),
                "if" => nodes.push(self.condition(&tokens[1..], span)?),
                "with" => nodes.push(self.with(&tokens[1..], span)?),
                "range" => {
                    let (names, pipe) = header(&tokens[1..], span)?;
                    let (body, otherwise) = self.block(span)?;
                    nodes.push(Node::Range { names, pipe, body, otherwise });
                }
                "break" => nodes.push(Node::Break(span)),
                "continue" => nodes.push(Node::Continue(span)),
                "define" if self.depth > 0 => {
                    return Err(Fault::new(span, "`define` cannot stand in another block"));
                }
                "define" => {
                    let (name, rest) = named(&tokens, span)?;
                    if let Some(token) = rest.first() {
                        return Err(Fault::new(token.span, "this does not belong here"));
                    }
                    self.define(name, span)?;
                }
                "template" => {
                    let (name, rest) = named(&tokens, span)?;
                    let pipe = if rest.is_empty() { None } else { Some(pipe(rest, span)?) };
                    nodes.push(Node::Template { name, pipe, span });
                }
                "block" => {
                    let (name, rest) = named(&tokens, span)?;
                    let pipe = Some(pipe(rest, span)?);
                    self.define(name.clone(), span)?;
                    nodes.push(Node::Template { name, pipe, span });
                }
                _ => nodes.push(action(&tokens, span)?),
            }
        }
        Ok((nodes, End::Input))
    }

    fn deeper(&mut self, span: Span) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH { Err(Fault::new(span, "blocks are nested too deeply")) } else { Ok(()) }
    }

    /// Reads the body of a block and what stands behind its `else`.
    fn block(&mut self, span: Span) -> Result<(Vec<Node>, Vec<Node>), Fault> {
        self.deeper(span)?;
        let (body, end) = self.nodes()?;
        let otherwise = self.otherwise(end, span)?;
        self.depth -= 1;
        Ok((body, otherwise))
    }

    /// Reads what stands behind the `else` that ended a body, if one did.
    fn otherwise(&mut self, end: End, span: Span) -> Result<Vec<Node>, Fault> {
        match end {
            End::Closed(_) => Ok(Vec::new()),
            End::Else(rest, _) if rest.is_empty() => match self.nodes()? {
                (nodes, End::Closed(_)) => Ok(nodes),
                _ => Err(unclosed(span)),
            },
            End::Else(_, span) => Err(Fault::new(span, "nothing may follow this `else`")),
            End::Input => Err(unclosed(span)),
        }
    }

    fn with(&mut self, tokens: &[Token], span: Span) -> Result<Node, Fault> {
        self.deeper(span)?;
        let (mut names, pipe) = header(tokens, span)?;
        if names.len() > 1 {
            return Err(Fault::new(span, "`with` takes one variable"));
        }
        let (body, end) = self.nodes()?;
        let otherwise = match end {
            // The same `end` closes both.
            End::Else(rest, at) if matches!(rest.first(), Some(Token { kind: Kind::Word(word), .. }) if word == "with") =>
            {
                vec![self.with(&rest[1..], at)?]
            }
            end => self.otherwise(end, span)?,
        };
        self.depth -= 1;
        Ok(Node::With { name: names.pop(), pipe, body, otherwise })
    }

    /// Reads what a name stands for, up to its `end`.
    fn define(&mut self, name: String, span: Span) -> Result<(), Fault> {
        self.deeper(span)?;
        let (body, end) = self.nodes()?;
        self.depth -= 1;
        match end {
            End::Closed(_) => {}
            End::Else(_, span) => return Err(Fault::new(span, "`else` without `if`, `range` or `with`")),
            End::Input => return Err(unclosed(span)),
        }
        match self.named.entry(name) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(body);
                Ok(())
            }
            std::collections::btree_map::Entry::Occupied(other) => {
                Err(Fault::new(span, format!("template \"{}\" is defined twice", other.key())))
            }
        }
    }

    fn condition(&mut self, tokens: &[Token], span: Span) -> Result<Node, Fault> {
        self.deeper(span)?;
        let mut branches = Vec::new();
        let mut condition = tokens.to_vec();
        let otherwise = loop {
            let pipe = pipe(&condition, span)?;
            let (body, end) = self.nodes()?;
            branches.push((pipe, body));
            match end {
                End::Closed(_) => break Vec::new(),
                End::Else(rest, at) => match rest.first().map(|token| &token.kind) {
                    None => match self.nodes()? {
                        (nodes, End::Closed(_)) => break nodes,
                        _ => return Err(unclosed(span)),
                    },
                    Some(Kind::Word(word)) if word == "if" => condition = rest[1..].to_vec(),
                    Some(_) => return Err(Fault::new(at, "only `if` may follow `else`")),
                },
                End::Input => return Err(unclosed(span)),
            }
        };
        self.depth -= 1;
        Ok(Node::If { branches, otherwise })
    }
}

/// Reads the name behind `define`, `template` or `block`; returns it and what follows.
fn named(tokens: &[Token], span: Span) -> Result<(String, &[Token]), Fault> {
    match tokens {
        [_, Token { kind: Kind::Text(name), .. }, rest @ ..] => Ok((name.clone(), rest)),
        _ => Err(Fault::new(span, "a template's name is missing here").help("write it in quotes")),
    }
}

fn unclosed(span: Span) -> Fault {
    Fault::new(span, "this block is not closed").help("add `{{end}}`")
}

fn action(tokens: &[Token], span: Span) -> Result<Node, Fault> {
    if let [
        Token { kind: Kind::Variable(name), .. },
        Token { kind: kind @ (Kind::Declare | Kind::Assign), .. },
        rest @ ..,
    ] = tokens
    {
        let new = if *kind == Kind::Declare { Binding::Declared } else { Binding::Assigned };
        return Ok(Node::Set { name: name.clone(), new, pipe: pipe(rest, span)?, span });
    }
    Ok(Node::Action(pipe(tokens, span)?))
}

/// Reads `[$a[, $b] :=] pipe` of `range` and `with`.
fn header(tokens: &[Token], span: Span) -> Result<(Vec<String>, Pipe), Fault> {
    let Some(at) = tokens.iter().position(|token| token.kind == Kind::Declare) else {
        return Ok((Vec::new(), pipe(tokens, span)?));
    };
    let names = match &tokens[..at] {
        [Token { kind: Kind::Variable(one), .. }] => vec![one.clone()],
        [
            Token { kind: Kind::Variable(one), .. },
            Token { kind: Kind::Comma, .. },
            Token { kind: Kind::Variable(two), .. },
        ] => vec![one.clone(), two.clone()],
        _ => return Err(Fault::new(span, "write `$value := ...` or `$key, $value := ...`")),
    };
    Ok((names, pipe(&tokens[at + 1..], span)?))
}

fn pipe(tokens: &[Token], span: Span) -> Result<Pipe, Fault> {
    let mut words = Words { tokens, at: 0, depth: 0, span };
    let pipe = words.pipe()?;
    match words.tokens.get(words.at) {
        None => Ok(pipe),
        Some(token) => Err(Fault::new(token.span, "this does not belong here")),
    }
}

struct Words<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    span: Span,
}

impl Words<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn pipe(&mut self) -> Result<Pipe, Fault> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Fault::new(self.span, "parentheses are nested too deeply"));
        }
        let mut commands = vec![self.command()?];
        while self.peek().is_some_and(|token| token.kind == Kind::Bar) {
            self.at += 1;
            let command = self.command()?;
            if !matches!(command.head.base, Base::Function(_)) {
                return Err(Fault::new(command.span, "only a function can stand behind `|`"));
            }
            commands.push(command);
        }
        self.depth -= 1;
        let span = commands[0].span.to(commands[commands.len() - 1].span);
        Ok(Pipe { commands, span })
    }

    fn command(&mut self) -> Result<Command, Fault> {
        let Some(head) = self.operand()? else {
            let span = self.peek().map_or(self.span, |token| token.span);
            return Err(Fault::new(span, "a value is missing here"));
        };
        let mut span = head.span;
        let mut arguments = Vec::new();
        while let Some(argument) = self.operand()? {
            span = span.to(argument.span);
            arguments.push(argument);
        }
        if arguments.is_empty() && matches!(head.base, Base::Literal(Value::Null)) {
            return Err(Fault::new(span, "`nil` alone is no value").help("it can be compared with `eq`"));
        }
        let is_label = matches!((&head.base, &head.fields[..]), (Base::Dot, [(name, _)]) if name == LABEL);
        let takes = matches!(head.base, Base::Function(_)) || (is_label && arguments.len() == 1);
        if !arguments.is_empty() && !takes {
            return Err(Fault::new(
                arguments[0].span,
                "this stands behind something that takes no arguments",
            ));
        }
        Ok(Command { head, arguments, span })
    }

    fn operand(&mut self) -> Result<Option<Operand>, Fault> {
        let Some(token) = self.peek().cloned() else { return Ok(None) };
        let mut fields = Vec::new();
        let base = match token.kind {
            Kind::Dot => Base::Dot,
            Kind::Field(name) => {
                fields.push((name, token.span));
                Base::Dot
            }
            Kind::Variable(name) => Base::Variable(name),
            Kind::Text(text) => Base::Literal(Value::from(text)),
            Kind::Integer(number) => Base::Literal(Value::from(number)),
            Kind::Float(number) => Base::Literal(Value::from(number)),
            Kind::Word(word) => match word.as_str() {
                "true" => Base::Literal(Value::Bool(true)),
                "false" => Base::Literal(Value::Bool(false)),
                "nil" => Base::Literal(Value::Null),
                _ if functions::NAMES.contains(&word.as_str()) => Base::Function(word),
                _ => return Err(no_function(&word, token.span)),
            },
            Kind::Open => {
                self.at += 1;
                let inner = self.pipe()?;
                if self.peek().is_none_or(|token| token.kind != Kind::Close) {
                    return Err(Fault::new(token.span, "this parenthesis is not closed"));
                }
                Base::Nested(Box::new(inner))
            }
            Kind::Close | Kind::Bar => return Ok(None),
            Kind::Comma | Kind::Declare | Kind::Assign => {
                return Err(Fault::new(token.span, "this does not belong here"));
            }
        };
        let mut span = token.span.to(self.tokens[self.at].span);
        self.at += 1;
        while let Some(Token { kind: Kind::Field(name), span: at, spaced: false }) = self.peek() {
            let (name, at) = (name.clone(), *at);
            fields.push((name, at));
            span = span.to(at);
            self.at += 1;
        }
        Ok(Some(Operand { base, fields, span }))
    }
}

fn no_function(word: &str, span: Span) -> Fault {
    let fault = Fault::new(span, format!("function `{word}` is not defined"));
    match nearest(word, functions::NAMES.iter().copied()) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault.help(format!("there are [{}]; a field begins with a dot", functions::NAMES.join(", "))),
    }
}
