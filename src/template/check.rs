//! What is wrong with a template whatever it is rendered for: variables that nobody declared, and `break` outside of `range`.

use super::Fault;
use super::parser::{Base, Binding, Command, Node, Operand, Parsed, Pipe};

/// Checks a template and what it gives names to.
pub(super) fn check(parsed: &Parsed) -> Result<(), Fault> {
    for nodes in std::iter::once(&parsed.nodes).chain(parsed.named.values()) {
        Scope { variables: vec![""], loops: 0 }.nodes(nodes)?;
    }
    Ok(())
}

struct Scope<'t> {
    variables: Vec<&'t str>,
    /// How many `range` are around.
    loops: usize,
}

impl<'t> Scope<'t> {
    /// What is declared in a block is known up to its end.
    fn nodes(&mut self, nodes: &'t [Node]) -> Result<(), Fault> {
        let kept = self.variables.len();
        for node in nodes {
            self.node(node)?;
        }
        self.variables.truncate(kept);
        Ok(())
    }

    fn node(&mut self, node: &'t Node) -> Result<(), Fault> {
        match node {
            Node::Text(_) => Ok(()),
            Node::Action(pipe) => self.pipe(pipe),
            Node::Set { name, new, pipe, span } => {
                self.pipe(pipe)?;
                match new {
                    Binding::Declared => self.variables.push(name),
                    Binding::Assigned => self.known(name, *span)?,
                }
                Ok(())
            }
            Node::If { branches, otherwise } => {
                for (condition, body) in branches {
                    self.pipe(condition)?;
                    self.nodes(body)?;
                }
                self.nodes(otherwise)
            }
            Node::With { name, pipe, body, otherwise } => {
                self.pipe(pipe)?;
                let kept = self.variables.len();
                self.variables.extend(name.as_deref());
                self.nodes(body)?;
                self.nodes(otherwise)?;
                self.variables.truncate(kept);
                Ok(())
            }
            Node::Range { names, pipe, body, otherwise } => {
                self.pipe(pipe)?;
                let kept = self.variables.len();
                self.variables.extend(names.iter().map(String::as_str));
                self.loops += 1;
                self.nodes(body)?;
                self.loops -= 1;
                self.nodes(otherwise)?;
                self.variables.truncate(kept);
                Ok(())
            }
            Node::Template { pipe, .. } => pipe.as_ref().map_or(Ok(()), |pipe| self.pipe(pipe)),
            Node::Break(span) if self.loops == 0 => Err(Fault::new(*span, "`break` outside of `range`")),
            Node::Continue(span) if self.loops == 0 => {
                Err(Fault::new(*span, "`continue` outside of `range`"))
            }
            Node::Break(_) | Node::Continue(_) => Ok(()),
        }
    }

    fn pipe(&self, pipe: &Pipe) -> Result<(), Fault> {
        for Command { head, arguments, .. } in &pipe.commands {
            for operand in std::iter::once(head).chain(arguments) {
                self.operand(operand)?;
            }
        }
        Ok(())
    }

    fn operand(&self, operand: &Operand) -> Result<(), Fault> {
        match &operand.base {
            Base::Variable(name) => self.known(name, operand.span),
            Base::Nested(pipe) => self.pipe(pipe),
            Base::Dot | Base::Literal(_) | Base::Function(_) => Ok(()),
        }
    }

    fn known(&self, name: &str, span: rbuild_model::span::Span) -> Result<(), Fault> {
        match self.variables.contains(&name) {
            true => Ok(()),
            false => Err(Fault::new(span, format!("variable `${name}` is not declared"))),
        }
    }
}
