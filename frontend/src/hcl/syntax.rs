//! What a file of HCL is made of.

use std::sync::Arc;

use rbuild_model::span::{Location, Source, Span, Spanned};

use super::number::Number;

/// A text with attributes and blocks, in the order in which they are written.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// `name = expression`
    pub attributes: Vec<Attribute>,
    /// `type "label" { ... }`
    pub blocks: Vec<Block>,
}

impl Body {
    /// Returns the last attribute of a name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().rev().find(|attribute| attribute.name.value == name)
    }
}

/// `name = expression`
#[derive(Clone, Debug)]
pub struct Attribute {
    /// The name.
    pub name: Spanned<String>,
    /// The expression.
    pub value: Expression,
}

/// `type "label" { ... }`
#[derive(Clone, Debug)]
pub struct Block {
    /// The type.
    pub kind: Spanned<String>,
    /// The labels.
    pub labels: Vec<Spanned<String>>,
    /// What is in it.
    pub body: Body,
    /// The text it is in.
    pub source: Arc<Source>,
}

/// An expression with its place.
#[derive(Clone, Debug)]
pub struct Expression {
    /// What it is.
    pub kind: Box<ExpressionKind>,
    /// Where it stands.
    pub span: Span,
    /// The text it is in.
    pub source: Arc<Source>,
}

impl Expression {
    /// Returns the place.
    pub fn location(&self) -> Location {
        Location { source: Arc::clone(&self.source), span: self.span }
    }
}

/// What an expression is.
#[derive(Clone, Debug)]
pub enum ExpressionKind {
    /// `null`
    Null,
    /// `true`
    Bool(bool),
    /// `1.5`
    Number(Number),
    /// `"text ${expression}"`; a single interpolation keeps its type.
    Template(Vec<Part>),
    /// `name`
    Variable(String),
    /// `value.name`
    Attribute(Expression, Spanned<String>),
    /// `value[key]`
    Index(Expression, Expression),
    /// `value[*].name` and `value.*.name`: what is done with each element.
    Splat(Expression, Vec<Access>),
    /// `name(arguments...)`
    Call {
        /// The function.
        name: Spanned<String>,
        /// What it is given.
        arguments: Vec<Expression>,
        /// Whether the last argument is a list of arguments.
        spread: bool,
    },
    /// `[1, 2]`
    Tuple(Vec<Expression>),
    /// `{a = 1}`
    Object(Vec<(Key, Expression)>),
    /// `[for ...]` and `{for ...}`
    For(Box<For>),
    /// `!x`, `-x`
    Unary(Unary, Expression),
    /// `a + b`
    Binary(Binary, Expression, Expression),
    /// `a ? b : c`
    Conditional(Expression, Expression, Expression),
    /// `(a)`
    Parenthesis(Expression),
}

/// A key of an object.
#[derive(Clone, Debug)]
pub enum Key {
    /// A name as it stands.
    Name(Spanned<String>),
    /// An expression.
    Expression(Expression),
}

/// A part of a text.
#[derive(Clone, Debug)]
pub enum Part {
    /// Text as it stands.
    Text(String),
    /// `${...}`
    Interpolation(Expression),
    /// `%{if ...}...%{else}...%{endif}`
    If(Expression, Vec<Part>, Vec<Part>),
    /// `%{for ... in ...}...%{endfor}`
    For {
        /// The name of the key, where it is wanted.
        key: Option<String>,
        /// The name of the value.
        value: String,
        /// What is gone through.
        over: Expression,
        /// What is written each time.
        body: Vec<Part>,
    },
}

/// One access of a splat.
#[derive(Clone, Debug)]
pub enum Access {
    /// `.name`
    Attribute(Spanned<String>),
    /// `[key]`
    Index(Expression),
}

/// `[for key, value in over : result if condition]`
#[derive(Clone, Debug)]
pub struct For {
    /// The name of the key, where it is wanted.
    pub key_name: Option<String>,
    /// The name of the value.
    pub value_name: String,
    /// What is gone through.
    pub over: Expression,
    /// The key of an object's entry; `None` for a tuple.
    pub key: Option<Expression>,
    /// The result.
    pub value: Expression,
    /// Whether entries of the same key are gathered (`...`).
    pub group: bool,
    /// What has to hold.
    pub condition: Option<Expression>,
}

/// An operator of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// `!`
    Not,
    /// `-`
    Negate,
}

/// An operator of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `||`
    Or,
    /// `&&`
    And,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
}

impl Binary {
    /// Returns how tightly it binds.
    pub(super) const fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Equal | Self::NotEqual => 3,
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual => 4,
            Self::Add | Self::Subtract => 5,
            Self::Multiply | Self::Divide | Self::Modulo => 6,
        }
    }
}
