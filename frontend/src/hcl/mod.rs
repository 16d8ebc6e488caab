//! HCL, the language of bake files: text to [syntax](Body), expressions to [values](Value).
//!
//! The native form ([`parse()`]) and the form in JSON ([`parse_json`]) come to the same syntax. What a name means is the business of
//! whoever evaluates: [`Scope`].

mod eval;
mod expression;
pub mod functions;
mod json;
mod kinds;
mod number;
mod parse;
mod syntax;
mod template;
mod value;

pub use eval::{Failure, Scope, bool_of, evaluate, evaluate_with, fault, shown, text_of};
pub use json::{BlockForm, parse_json};
pub(crate) use kinds::{Type, record};
pub use number::Number;
pub use parse::parse;
pub use syntax::{Access, Attribute, Binary, Block, Body, Expression, ExpressionKind, For, Key, Part, Unary};
pub use value::Value;
