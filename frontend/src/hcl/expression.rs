//! Expressions: operators by how tightly they bind, accesses behind values, brackets in which line ends are blanks.

use rbuild_model::span::{Span, Spanned};

use super::number::Number;
use super::parse::{MAX_DEPTH, Parsed, Parser};
use super::syntax::{Access, Binary, Expression, ExpressionKind, For, Key, Unary};
use super::template;

impl Parser<'_> {
    /// Reads an expression.
    pub(super) fn expression(&mut self) -> Parsed<Expression> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.here("expressions stand too deep in each other"));
        }
        let start = self.start()?;
        let condition = self.binary(1)?;
        self.skip()?;
        let expression = if self.rest().starts_with('?') {
            self.at += 1;
            let yes = self.expression()?;
            self.expect(":", "of `condition ? yes : no`")?;
            let no = self.expression()?;
            self.expression_of(ExpressionKind::Conditional(condition, yes, no), start)
        } else {
            condition
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn start(&mut self) -> Parsed<usize> {
        self.skip()?;
        Ok(self.at)
    }

    fn operator(&self) -> Option<(&'static str, Binary)> {
        const OPERATORS: [(&str, Binary); 13] = [
            ("||", Binary::Or),
            ("&&", Binary::And),
            ("==", Binary::Equal),
            ("!=", Binary::NotEqual),
            ("<=", Binary::LessOrEqual),
            (">=", Binary::GreaterOrEqual),
            ("<", Binary::Less),
            (">", Binary::Greater),
            ("+", Binary::Add),
            ("-", Binary::Subtract),
            ("*", Binary::Multiply),
            ("/", Binary::Divide),
            ("%", Binary::Modulo),
        ];
        OPERATORS.into_iter().find(|(token, _)| self.rest().starts_with(token))
    }

    fn binary(&mut self, least: u8) -> Parsed<Expression> {
        let start = self.start()?;
        let mut left = self.unary()?;
        loop {
            self.skip()?;
            let Some((token, operator)) = self.operator() else { return Ok(left) };
            if operator.precedence() < least {
                return Ok(left);
            }
            self.at += token.len();
            let right = self.binary(operator.precedence() + 1)?;
            left = self.expression_of(ExpressionKind::Binary(operator, left, right), start);
        }
    }

    fn unary(&mut self) -> Parsed<Expression> {
        let start = self.start()?;
        let operator = match self.peek() {
            Some('!') => Unary::Not,
            Some('-') => Unary::Negate,
            _ => return self.postfix(),
        };
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.here("expressions stand too deep in each other"));
        }
        let value = self.unary()?;
        self.depth -= 1;
        Ok(self.expression_of(ExpressionKind::Unary(operator, value), start))
    }

    fn postfix(&mut self) -> Parsed<Expression> {
        let start = self.start()?;
        let mut value = self.primary()?;
        loop {
            if self.eat("[*]") {
                value = self.splat(value, start, true)?;
            } else if self.rest().starts_with('[') {
                self.at += 1;
                let key = self.within("]", "of an index", |parser| parser.expression())?;
                value = self.expression_of(ExpressionKind::Index(value, key), start);
            } else if self.rest().starts_with(".*") {
                self.at += 2;
                value = self.splat(value, start, false)?;
            } else if self.rest().starts_with('.') && !self.rest().starts_with("...") {
                self.at += 1;
                value = match self.access()? {
                    Access::Attribute(name) => {
                        self.expression_of(ExpressionKind::Attribute(value, name), start)
                    }
                    Access::Index(key) => self.expression_of(ExpressionKind::Index(value, key), start),
                };
            } else {
                return Ok(value);
            }
        }
    }

    /// What stands behind a dot: a name, or a position as older files have it.
    fn access(&mut self) -> Parsed<Access> {
        if let Some(name) = self.name() {
            return Ok(Access::Attribute(name));
        }
        let start = self.at;
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(self.here(format!("expected a name behind `.`, found {}", self.found())));
        }
        let number = Number::parse(&self.rest()[..digits]).unwrap_or(Number(0.0));
        self.at += digits;
        Ok(Access::Index(self.expression_of(ExpressionKind::Number(number), start)))
    }

    fn splat(&mut self, of: Expression, start: usize, full: bool) -> Parsed<Expression> {
        let mut accesses = Vec::new();
        loop {
            if self.rest().starts_with('.')
                && !self.rest().starts_with("...")
                && !self.rest().starts_with(".*")
            {
                self.at += 1;
                accesses.push(self.access()?);
            } else if full && self.rest().starts_with('[') && !self.rest().starts_with("[*]") {
                self.at += 1;
                let key = self.within("]", "of an index", |parser| parser.expression())?;
                accesses.push(Access::Index(key));
            } else {
                return Ok(self.expression_of(ExpressionKind::Splat(of, accesses), start));
            }
        }
    }

    /// Reads something between brackets, where line ends are blanks.
    pub(super) fn within<T>(
        &mut self,
        close: &str,
        of: &str,
        read: impl FnOnce(&mut Self) -> Parsed<T>,
    ) -> Parsed<T> {
        let outside = std::mem::replace(&mut self.in_brackets, true);
        let value = read(self)?;
        self.expect(close, of)?;
        self.in_brackets = outside;
        Ok(value)
    }

    fn primary(&mut self) -> Parsed<Expression> {
        let start = self.at;
        match self.peek() {
            Some('(') => {
                self.at += 1;
                let inner = self.within(")", "of a parenthesis", |parser| parser.expression())?;
                Ok(self.expression_of(ExpressionKind::Parenthesis(inner), start))
            }
            Some('"') => {
                self.at += 1;
                let parts = if self.is_json { template::json(self)? } else { template::parts(self)? };
                self.at += 1;
                Ok(self.expression_of(ExpressionKind::Template(parts), start))
            }
            Some('<') if self.rest().starts_with("<<") => {
                let parts = template::heredoc(self)?;
                Ok(self.expression_of(ExpressionKind::Template(parts), start))
            }
            Some('[') => self.tuple(start),
            Some('{') => self.object(start),
            Some(digit) if digit.is_ascii_digit() => {
                let bytes = self.rest().as_bytes();
                let mut length = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let digits_at = |at: usize| {
                    bytes[at.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count()
                };
                if bytes.get(length) == Some(&b'.') && digits_at(length + 1) > 0 {
                    length += 1 + digits_at(length + 1);
                }
                if matches!(bytes.get(length), Some(b'e' | b'E')) {
                    let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
                    let exponent = digits_at(length + 1 + sign);
                    if exponent > 0 {
                        length += 1 + sign + exponent;
                    }
                }
                let number = Number::parse(&self.rest()[..length]);
                let span = Span::new(start, start + length);
                let number = number.ok_or_else(|| self.error(span, "this number is too large"))?;
                self.at += length;
                Ok(self.expression_of(ExpressionKind::Number(number), start))
            }
            _ => self.named(start),
        }
    }

    fn named(&mut self, start: usize) -> Parsed<Expression> {
        let Some(mut name) = self.name() else {
            return Err(self.here(format!("expected an expression, found {}", self.found())));
        };
        // Functions may lie in name spaces.
        while self.rest().starts_with("::") {
            self.at += 2;
            let Some(more) = self.name() else {
                return Err(self.here(format!("expected a name behind `::`, found {}", self.found())));
            };
            name = Spanned::new(format!("{}::{}", name.value, more.value), name.span.to(more.span));
        }
        if self.rest().starts_with('(') {
            self.at += 1;
            let (arguments, spread) = self.within(")", "behind the arguments", Self::arguments)?;
            return Ok(self.expression_of(ExpressionKind::Call { name, arguments, spread }, start));
        }
        let kind = match &*name.value {
            "null" => ExpressionKind::Null,
            "true" => ExpressionKind::Bool(true),
            "false" => ExpressionKind::Bool(false),
            _ => ExpressionKind::Variable(name.value),
        };
        Ok(self.expression_of(kind, start))
    }

    fn arguments(&mut self) -> Parsed<(Vec<Expression>, bool)> {
        let mut arguments = Vec::new();
        loop {
            self.skip()?;
            if self.rest().starts_with(')') {
                return Ok((arguments, false));
            }
            arguments.push(self.expression()?);
            self.skip()?;
            if self.eat("...") {
                return Ok((arguments, true));
            }
            if !self.eat(",") {
                return Ok((arguments, false));
            }
        }
    }

    fn tuple(&mut self, start: usize) -> Parsed<Expression> {
        self.at += 1;
        let kind = self.within("]", "behind the elements", |parser| {
            if let Some(form) = parser.for_form(false)? {
                return Ok(form);
            }
            let mut items = Vec::new();
            loop {
                parser.skip()?;
                if parser.rest().starts_with(']') {
                    break;
                }
                items.push(parser.expression()?);
                parser.skip()?;
                if !parser.eat(",") {
                    break;
                }
                parser.no_comma_before("]")?;
            }
            Ok(ExpressionKind::Tuple(items))
        })?;
        Ok(self.expression_of(kind, start))
    }

    /// Refuses a comma in front of the end, which JSON does not know.
    fn no_comma_before(&mut self, end: &str) -> Parsed<()> {
        self.skip()?;
        if self.is_json && self.rest().starts_with(end) {
            return Err(self.here(format!("there is a comma before `{end}`, which is no JSON")));
        }
        Ok(())
    }

    /// Reads `for ... in ... : ...`, if that is what stands behind the bracket.
    fn for_form(&mut self, object: bool) -> Parsed<Option<ExpressionKind>> {
        self.skip()?;
        let before = self.at;
        let is_for = self.name().is_some_and(|name| name.value == "for");
        self.skip()?;
        let Some(first) = self.name().filter(|_| is_for) else {
            self.at = before;
            return Ok(None);
        };
        self.skip()?;
        let second = if self.eat(",") {
            self.skip()?;
            let name = self.name();
            self.skip()?;
            Some(name.ok_or_else(|| self.here(format!("expected a name, found {}", self.found())))?)
        } else {
            None
        };
        if self.name().is_none_or(|name| name.value != "in") {
            return Err(self.here("expected `in` of `for name in list`"));
        }
        let over = self.expression()?;
        self.expect(":", "of `for`")?;
        let mut value = self.expression()?;
        let mut key = None;
        let mut group = false;
        if object {
            self.expect("=>", "of `{for ... : key => value}`")?;
            key = Some(std::mem::replace(&mut value, self.expression()?));
            self.skip()?;
            group = self.eat("...");
        }
        self.skip()?;
        let mark = self.at;
        let condition = if self.name().is_some_and(|name| name.value == "if") {
            Some(self.expression()?)
        } else {
            self.at = mark;
            None
        };
        let (key_name, value_name) = match second {
            Some(second) => (Some(first.value), second.value),
            None => (None, first.value),
        };
        let form = For { key_name, value_name, over, key, value, group, condition };
        Ok(Some(ExpressionKind::For(Box::new(form))))
    }

    fn object(&mut self, start: usize) -> Parsed<Expression> {
        self.at += 1;
        let outside = std::mem::replace(&mut self.in_brackets, true);
        if let Some(form) = self.for_form(true)? {
            self.expect("}", "of `for`")?;
            self.in_brackets = outside;
            return Ok(self.expression_of(form, start));
        }
        let mut entries = Vec::new();
        loop {
            self.in_brackets = true;
            self.skip()?;
            if self.eat("}") {
                break;
            }
            let key = self.key()?;
            self.in_brackets = self.is_json;
            self.skip()?;
            if !(self.eat("=") || self.eat(":")) {
                return Err(self.here(format!("expected `=` behind a key, found {}", self.found())));
            }
            let value = self.expression()?;
            entries.push((key, value));
            self.skip()?;
            match self.peek() {
                Some(',') => {
                    self.at += 1;
                    self.no_comma_before("}")?;
                }
                Some('\n') if !self.is_json => self.at += 1,
                Some('}') => {}
                _ => {
                    let message =
                        format!("expected `,`, a new line or `}}` behind an entry, found {}", self.found());
                    return Err(self.here(message));
                }
            }
        }
        self.in_brackets = outside;
        Ok(self.expression_of(ExpressionKind::Object(entries), start))
    }

    fn key(&mut self) -> Parsed<Key> {
        let before = self.at;
        if let Some(name) = self.name() {
            self.skip()?;
            if self.rest().starts_with('=') || self.rest().starts_with(':') {
                return Ok(Key::Name(name));
            }
            self.at = before;
        }
        Ok(Key::Expression(self.expression()?))
    }
}
