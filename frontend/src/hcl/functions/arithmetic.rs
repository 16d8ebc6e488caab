//! Numbers and truth.

use super::{Function, World, boolean, function, many, number, text, whole};
use crate::hcl::{Number, Value};

/// The functions.
pub(super) const FUNCTIONS: &[Function] = &[
    function("abs", 1, 1, |a, _| of(number(a, 0)?.0.abs())),
    function("absolute", 1, 1, |a, _| of(number(a, 0)?.0.abs())),
    function("add", 2, 2, |a, _| of(number(a, 0)?.0 + number(a, 1)?.0)),
    function("and", 2, 2, |a, _| Ok(Value::Bool(boolean(a, 0)? && boolean(a, 1)?))),
    function("ceil", 1, 1, |a, _| of(number(a, 0)?.0.ceil())),
    function("divide", 2, 2, divide),
    function("equal", 2, 2, |a, _| Ok(Value::Bool(a[0] == a[1]))),
    function("floor", 1, 1, |a, _| of(number(a, 0)?.0.floor())),
    function("greaterthan", 2, 2, |a, _| Ok(Value::Bool(number(a, 0)? > number(a, 1)?))),
    function("greaterthanorequalto", 2, 2, |a, _| Ok(Value::Bool(number(a, 0)? >= number(a, 1)?))),
    function("int", 1, 1, |a, _| of(number(a, 0)?.0.trunc())),
    function("lessthan", 2, 2, |a, _| Ok(Value::Bool(number(a, 0)? < number(a, 1)?))),
    function("lessthanorequalto", 2, 2, |a, _| Ok(Value::Bool(number(a, 0)? <= number(a, 1)?))),
    function("log", 2, 2, |a, _| of(number(a, 0)?.0.log(number(a, 1)?.0))),
    many("max", 1, |a, _| extreme(a, f64::max)),
    many("min", 1, |a, _| extreme(a, f64::min)),
    function("modulo", 2, 2, modulo),
    function("multiply", 2, 2, |a, _| of(number(a, 0)?.0 * number(a, 1)?.0)),
    function("negate", 1, 1, |a, _| of(-number(a, 0)?.0)),
    function("not", 1, 1, |a, _| Ok(Value::Bool(!boolean(a, 0)?))),
    function("notequal", 2, 2, |a, _| Ok(Value::Bool(a[0] != a[1]))),
    function("or", 2, 2, |a, _| Ok(Value::Bool(boolean(a, 0)? || boolean(a, 1)?))),
    function("parseint", 2, 2, parse_int),
    function("pow", 2, 2, |a, _| of(number(a, 0)?.0.powf(number(a, 1)?.0))),
    function("signum", 1, 1, |a, _| {
        let number = number(a, 0)?.0;
        of(if number == 0.0 { 0.0 } else { number.signum() })
    }),
    function("subtract", 2, 2, |a, _| of(number(a, 0)?.0 - number(a, 1)?.0)),
];

fn of(number: f64) -> Result<Value, String> {
    if number.is_finite() {
        Ok(Value::Number(Number(number)))
    } else {
        Err("the result is no number".to_owned())
    }
}

fn divide(arguments: &[Value], _: &World) -> Result<Value, String> {
    match number(arguments, 1)?.0 {
        0.0 => Err("division by zero".to_owned()),
        by => of(number(arguments, 0)?.0 / by),
    }
}

fn modulo(arguments: &[Value], _: &World) -> Result<Value, String> {
    match number(arguments, 1)?.0 {
        0.0 => Err("division by zero".to_owned()),
        by => of(number(arguments, 0)?.0 % by),
    }
}

fn extreme(arguments: &[Value], choose: fn(f64, f64) -> f64) -> Result<Value, String> {
    let mut found = number(arguments, 0)?.0;
    for at in 1..arguments.len() {
        found = choose(found, number(arguments, at)?.0);
    }
    of(found)
}

fn parse_int(arguments: &[Value], _: &World) -> Result<Value, String> {
    let base = whole(arguments, 1)?;
    let base = u32::try_from(base).ok().filter(|base| (2..=36).contains(base));
    let base = base.ok_or_else(|| "the base must be from 2 to 36".to_owned())?;
    let digits = text(arguments, 0)?;
    i64::from_str_radix(&digits, base)
        .map(|number| Value::Number(number.into()))
        .map_err(|_| format!("{digits:?} is no number in base {base}"))
}
