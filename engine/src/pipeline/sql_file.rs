//! The SQL form of a pipeline: statements to a draft.
//!
//! ```text
//! CREATE TABLE t (…) WITH (…)      a source where queries read it, a sink where they write it
//! CREATE TABLE t (…) WITH (…) LIKE u         the same with what u declares
//! CREATE TABLE t WITH (…) AS SELECT …        the same with INSERT INTO t SELECT …
//! CREATE VIEW v AS SELECT …
//! INSERT INTO t [(a, b)] SELECT … [EMIT ON WINDOW CLOSE | EMIT FINAL]
//! EXECUTE STATEMENT SET BEGIN INSERT …; INSERT …; END        the same as the INSERTs alone
//! CREATE [SOURCE | SINK] CONNECTOR c WITH (…)
//! CREATE FUNCTION f LANGUAGE wasm AS 'file.wasm' [WITH (…)]
//! SET 'key' = 'value'
//! ```
//!
//! Statements are told apart by their semicolons before any is parsed, so that a mistake in one
//! does not hide those of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use datafusion_sql::sqlparser::ast;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::Cursor;
use super::diagnostic::{Diagnostic, Severity, SourceFile, Span};
use super::draft::{Draft, DraftEmit, DraftQuery, DraftSelect, DraftView, Explain, Named};
use super::duration::{check_state_ttl, parse_duration};
use super::flink_options;
use super::functions::{self, DraftFunction};
use super::model::{
    COMMIT_INTERVAL_MAX, Connector, Guarantee, STANDBY_REPLICAS_MAX, Settings, TASKS_LIMIT,
};
use super::names::{check_pipeline, name_of_file};
use super::size::parse_state_memory;
use super::sql_table::{Finished, TableStatement, eat_comment, read_options, read_table};
use super::tokens::{Offsets, Text, check_length, file_span, lex};
use super::toml_file::BATCH_ROWS_LIMIT;
use crate::plan::lower::names_read;

pub(crate) fn read(file: &Arc<SourceFile>, mistakes: &mut Vec<Diagnostic>) -> Draft {
    read_statements(file, false, mistakes).0
}

/// Statements to be answered at once, and the tables and views that they declare.
pub(crate) fn read_script(
    file: &Arc<SourceFile>,
    mistakes: &mut Vec<Diagnostic>,
) -> (Draft, Vec<DraftSelect>) {
    read_statements(file, true, mistakes)
}

fn read_statements(
    file: &Arc<SourceFile>,
    is_script: bool,
    mistakes: &mut Vec<Diagnostic>,
) -> (Draft, Vec<DraftSelect>) {
    let text = Text { file, sql: &file.text, offsets: Offsets::From(0) };
    let (tokens, unreadable) = lex(text);
    let is_cut_off = unreadable.is_some();
    mistakes.extend(unreadable);
    let span = Span { file: Arc::clone(file), start: 0, end: 0 };
    let mut reader = FileReader {
        name: Named { text: name_of_file(&file.path), span },
        settings: Settings::default(),
        connectors: Vec::new(),
        tables: Vec::new(),
        functions: Vec::new(),
        views: Vec::new(),
        inserts: Vec::new(),
        broken: Vec::new(),
        is_script,
        is_cut_off,
        selects: Vec::new(),
        set: None,
        mistakes,
    };
    for statement in tokens.split(|token| token.token == Token::SemiColon) {
        let statement = reader.within_set(file, statement);
        if let (Some(first), Some(last)) = (statement.first(), statement.last()) {
            reader.read_statement(file, statement, statement_span(file, first, last));
        }
    }
    reader.check_set_is_ended();
    let selects = std::mem::take(&mut reader.selects);
    (reader.finish(file), selects)
}

fn statement_span(file: &Arc<SourceFile>, first: &TokenWithSpan, last: &TokenWithSpan) -> Span {
    let start = file_span(file, first.span).map_or(0, |span| span.start);
    let end = file_span(file, last.span).map_or(start, |span| span.end);
    Span { file: Arc::clone(file), start, end }
}

struct FileReader<'m> {
    name: Named,
    settings: Settings,
    connectors: Vec<Connector>,
    tables: Vec<TableStatement>,
    functions: Vec<DraftFunction>,
    views: Vec<DraftView>,
    inserts: Vec<Insert>,
    /// Tables and views that cannot be used, their mistakes being reported.
    broken: Vec<String>,
    /// Queries are answered at once; else they have to write somewhere.
    is_script: bool,
    /// The rest of the file cannot be read.
    is_cut_off: bool,
    /// Those to be answered at once.
    selects: Vec<DraftSelect>,
    /// Where the statement set begins that we are in.
    set: Option<Span>,
    mistakes: &'m mut Vec<Diagnostic>,
}

struct Insert {
    table: Named,
    columns: Option<Vec<Named>>,
    query: Option<Box<ast::Query>>,
    emit: Option<DraftEmit>,
    span: Span,
}

const SETTINGS: [&str; 8] = [
    "batch.rows.max",
    "commit.interval",
    "guarantee",
    "pipeline.name",
    "standby.replicas",
    "state.memory",
    "state.ttl",
    "tasks",
];

const STATEMENTS: [&str; 6] =
    ["CREATE TABLE", "CREATE VIEW", "CREATE CONNECTOR", "CREATE FUNCTION", "INSERT INTO", "SET"];

/// How a statement set begins, in Flink's spellings of then and now.
const SET_BEGINS: [&[&str]; 3] = [
    &["EXECUTE", "STATEMENT", "SET", "BEGIN"],
    &["STATEMENT", "SET", "BEGIN"],
    &["BEGIN", "STATEMENT", "SET"],
];

impl FileReader<'_> {
    /// What is left of a statement without the words that begin or end a statement set: all of a
    /// file's queries run together anyway.
    fn within_set<'t>(
        &mut self,
        file: &'t Arc<SourceFile>,
        tokens: &'t [TokenWithSpan],
    ) -> &'t [TokenWithSpan] {
        let end = tokens.last().and_then(|last| file_span(file, last.span));
        let mut cursor = Cursor::new(file, tokens, end.map_or(0, |end| end.end));
        if self.is_script {
            return tokens;
        }
        let span = cursor.span();
        if SET_BEGINS.iter().any(|words| cursor.eat_words(words)) {
            if self.set.replace(span.clone()).is_some() {
                let message = "a statement set begins within another";
                self.mistakes.push(Diagnostic::error(message, span).help("end that first: END;"));
            }
        } else if cursor.is_at_word("END") && tokens.len() == 1 {
            if self.set.take().is_none() {
                let message = "no statement set ends here: none has begun";
                let help = "such as EXECUTE STATEMENT SET BEGIN INSERT …; INSERT …; END;";
                self.mistakes.push(Diagnostic::error(message, span).help(help));
            }
            return &[];
        }
        // Flink lets single ones be executed, too.
        if cursor.is_at_word("EXECUTE") && cursor.nth_is_word(1, "INSERT") {
            cursor.skip();
        }
        if self.set.is_some() && !cursor.is_at_end() && !cursor.is_at_word("INSERT") {
            let message = "a statement set holds INSERT statements alone";
            let help = "move this before it, or end it before this: END;";
            self.mistakes.push(Diagnostic::error(message, cursor.span()).help(help));
        }
        cursor.rest()
    }

    fn check_set_is_ended(&mut self) {
        if let Some(span) = self.set.take() {
            let message = "this statement set is never ended";
            let help = "END; after its last statement and a semicolon";
            self.mistakes.push(Diagnostic::error(message, span).help(help));
        }
    }

    fn read_statement(&mut self, file: &Arc<SourceFile>, tokens: &[TokenWithSpan], span: Span) {
        if let Err(mistake) = check_length(file, tokens) {
            self.mistakes.push(mistake);
            return;
        }
        let mut cursor = Cursor::new(file, tokens, span.end);
        let read = if self.is_script && !cursor.is_at_word("CREATE") {
            self.read_select(&mut cursor, span)
        } else if cursor.eat_words(&["CREATE"]) {
            self.read_create(file, &mut cursor, span)
        } else if cursor.eat_words(&["INSERT", "INTO"]) {
            self.read_insert(&mut cursor, span)
        } else if cursor.eat_words(&["SET"]) {
            self.read_set(&mut cursor)
        } else if cursor.is_at_word("SELECT") || cursor.is_at_word("WITH") {
            let help = "write INSERT INTO table before it, and declare that table";
            Err(Diagnostic::error("this query writes nowhere", cursor.span()).help(help))
        } else {
            Err(unknown_statement(&cursor, ""))
        };
        if let Err(mistake) = read {
            self.mistakes.push(mistake);
        }
    }

    fn read_select(&mut self, cursor: &mut Cursor<'_>, span: Span) -> Result<(), Diagnostic> {
        let explain = cursor.eat_words(&["EXPLAIN"]).then(|| Explain {
            analyze: cursor.eat_words(&["ANALYZE"]),
            verbose: cursor.eat_words(&["VERBOSE"]),
        });
        let starts = ["SELECT", "WITH", "VALUES", "TABLE"];
        let is_query = starts.iter().any(|word| cursor.is_at_word(word))
            || cursor.peek().is_some_and(|token| token.token == Token::LParen);
        if !is_query {
            return Err(no_question(cursor));
        }
        let emit = cursor.find_last_word("EMIT");
        let to = emit.unwrap_or(cursor.token_count());
        let query = cursor.parse_to(to, |parser| parser.parse_query())?;
        let emit = emit.map(|_| read_emit(cursor)).transpose()?;
        self.selects.push(DraftSelect { query, explain, emit, span });
        Ok(())
    }

    fn read_create(
        &mut self,
        file: &Arc<SourceFile>,
        cursor: &mut Cursor<'_>,
        span: Span,
    ) -> Result<(), Diagnostic> {
        cursor.eat_words(&["OR", "REPLACE"]);
        let _ = cursor.eat_words(&["TEMPORARY"]) || cursor.eat_words(&["TEMP"]);
        if cursor.eat_words(&["TABLE"]) {
            cursor.eat_words(&["IF", "NOT", "EXISTS"]);
            self.read_create_table(cursor, span)
        } else if cursor.eat_words(&["VIEW"]) {
            cursor.eat_words(&["IF", "NOT", "EXISTS"]);
            let name = cursor.name("the view's name")?;
            self.check_new(&name);
            match read_view(cursor) {
                Ok((columns, query)) => self.views.push(DraftView { name, columns, query }),
                Err(mistake) => {
                    self.broken.push(name.text);
                    return Err(mistake);
                }
            }
            Ok(())
        } else if ["SOURCE", "SINK"].iter().any(|kind| cursor.eat_words(&[kind, "CONNECTOR"]))
            || cursor.eat_words(&["CONNECTOR"])
        {
            cursor.eat_words(&["IF", "NOT", "EXISTS"]);
            self.read_connector(cursor)
        } else if cursor.eat_words(&["FUNCTION"]) {
            cursor.eat_words(&["IF", "NOT", "EXISTS"]);
            self.read_function(file, cursor)
        } else if cursor.is_at_word("STREAM") {
            let help = "write CREATE TABLE; without a PRIMARY KEY it is a stream, and columns of \
                        the record's key are METADATA FROM 'key'";
            Err(Diagnostic::error("there is no CREATE STREAM", cursor.span()).help(help))
        } else {
            Err(unknown_statement(cursor, "CREATE "))
        }
    }

    fn read_create_table(&mut self, cursor: &mut Cursor<'_>, span: Span) -> Result<(), Diagnostic> {
        let name = cursor.name("the table's name")?;
        self.check_new(&name);
        let read = read_table(cursor, name.clone(), span.clone(), self.mistakes);
        let read = read.and_then(|mut table| {
            if cursor.is_at_word("LIKE") {
                table.read_like(cursor, &self.tables, self.mistakes)?;
            }
            Ok(table)
        });
        match read {
            Ok(table) => self.tables.push(table),
            Err(mistake) => {
                self.broken.push(name.text);
                return Err(mistake);
            }
        }
        let at = cursor.span();
        match cursor.eat_words(&["AS"]) {
            true if self.is_script => {
                self.tables.pop();
                self.broken.push(name.text);
                let help = "CREATE TABLE … AS belongs in a pipeline file, for `millstream run`";
                let message = "nothing is written here: this asks, by SELECT, WITH or VALUES";
                Err(Diagnostic::error(message, at).help(help))
            }
            true => self.read_written(name, cursor, span),
            false => cursor.expect_end(),
        }
    }

    fn check_new(&mut self, name: &Named) {
        let tables = self.tables.iter().map(|table| &table.name.text);
        let views = self.views.iter().map(|view| &view.name.text);
        if tables.chain(views).chain(&self.broken).any(|other| *other == name.text) {
            let message = format!("'{}' is declared twice", name.text);
            let diagnostic = Diagnostic::error(message, name.span.clone());
            self.mistakes.push(diagnostic.label("the second time"));
        }
    }

    fn read_connector(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Diagnostic> {
        let name = cursor.name("the connector's name")?;
        if self.connectors.iter().any(|other| other.name == name.text) {
            let message = format!("connector '{}' is declared twice", name.text);
            self.mistakes.push(Diagnostic::error(message, name.span.clone()));
        }
        cursor.expect_words(&["WITH"])?;
        let options = read_options(cursor, self.mistakes)?;
        cursor.expect_end()?;
        let mut properties = BTreeMap::new();
        let mut property_spans = BTreeMap::new();
        for (key, value) in options {
            properties.insert(key.text.clone(), value.text);
            property_spans.insert(key.text, value.span);
        }
        let span = name.span;
        let functions = Arc::default();
        let name = name.text;
        self.connectors.push(Connector { name, properties, span, property_spans, functions });
        Ok(())
    }

    /// `name LANGUAGE wasm AS 'file.wasm'`, in either order, and perhaps WITH.
    fn read_function(
        &mut self,
        file: &Arc<SourceFile>,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Diagnostic> {
        let name = cursor.name("the function's name")?;
        if self.functions.iter().any(|other| other.name.text.eq_ignore_ascii_case(&name.text)) {
            let message = format!("function '{}' is declared twice", name.text);
            self.mistakes.push(Diagnostic::error(message, name.span.clone()));
        }
        let mut properties = Vec::new();
        let mut is_wasm = false;
        loop {
            let span = cursor.span();
            if cursor.eat_words(&["LANGUAGE"]) {
                let language = cursor.name("wasm")?;
                if !language.text.eq_ignore_ascii_case("wasm") {
                    let message = format!("functions are in wasm, not in {}", language.text);
                    let help = "any language that compiles to WebAssembly will do: LANGUAGE wasm";
                    return Err(Diagnostic::error(message, language.span).help(help));
                }
                is_wasm = true;
            } else if cursor.eat_words(&["AS"]) {
                let module = cursor.value("the file of its module")?;
                properties.push((Named { text: "file".to_owned(), span }, module));
            } else if cursor.eat_words(&["WITH"]) {
                properties.extend(read_options(cursor, self.mistakes)?);
            } else {
                break;
            }
        }
        cursor.expect_end()?;
        if !is_wasm {
            let help = "write CREATE FUNCTION name LANGUAGE wasm AS 'file.wasm'";
            let message = format!("function '{}' has no language", name.text);
            return Err(Diagnostic::error(message, name.span).help(help));
        }
        self.functions.push(functions::read(name, properties, &file.path, self.mistakes));
        Ok(())
    }

    fn read_insert(&mut self, cursor: &mut Cursor<'_>, span: Span) -> Result<(), Diagnostic> {
        let table = cursor.name("the name of the table to write")?;
        self.read_written(table, cursor, span)
    }

    /// The query whose answer goes into a table.
    fn read_written(
        &mut self,
        table: Named,
        cursor: &mut Cursor<'_>,
        span: Span,
    ) -> Result<(), Diagnostic> {
        let emit = cursor.find_last_word("EMIT");
        // Known as a sink even if its query is not understood.
        let (query, mistake) = match read_inserted(cursor, emit) {
            Ok((columns, query)) => (Some((columns, query)), None),
            Err(mistake) => (None, Some(mistake)),
        };
        let understood = query.is_some();
        let (columns, query) = query.map_or((None, None), |(columns, of)| (columns, Some(of)));
        let emit = match emit {
            Some(_) if understood => read_emit(cursor).map(Some),
            _ => Ok(None),
        };
        let (emit, emit_mistake) = match emit {
            Ok(emit) => (emit, None),
            Err(mistake) => (None, Some(mistake)),
        };
        self.inserts.push(Insert { table, columns, query, emit, span });
        mistake.or(emit_mistake).map_or(Ok(()), Err)
    }

    fn duration(&mut self, key: &Named, value: &Named) -> Option<Duration> {
        let duration = parse_duration(&value.text);
        let mistake = |error| {
            let message = format!("'{}': {error}", key.text);
            self.mistakes.push(Diagnostic::error(message, value.span.clone()));
        };
        duration.map_err(mistake).ok()
    }

    fn read_standby_replicas(&mut self, key: &Named, value: &Named) {
        match value.text.parse() {
            Ok(copies) if copies <= STANDBY_REPLICAS_MAX => self.settings.standby_replicas = copies,
            _ => {
                let message = format!("'{}' must be from 0 to {STANDBY_REPLICAS_MAX}", key.text);
                self.mistakes.push(Diagnostic::error(message, value.span.clone()));
            }
        }
    }

    fn read_set(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Diagnostic> {
        let key = cursor.key()?;
        cursor.expect(&Token::Eq, "after the key")?;
        let value = cursor.value("a value")?;
        cursor.expect_end()?;
        let (key, value) = flink_options::setting_in_our_words(key, value)?;
        match key.text.replace('_', ".").as_str() {
            "commit.interval" => match self.duration(&key, &value) {
                Some(interval) if interval <= COMMIT_INTERVAL_MAX => {
                    self.settings.commit_interval = interval;
                }
                Some(_) => {
                    let message = format!("'{}' must be no more than 5 minutes", key.text);
                    self.mistakes.push(Diagnostic::error(message, value.span));
                }
                None => {}
            },
            "batch.rows.max" => match value.text.parse::<usize>() {
                Ok(rows) if (1..=BATCH_ROWS_LIMIT).contains(&rows) => {
                    self.settings.batch_rows_max = rows;
                }
                _ => {
                    let message = format!("'{}' must be from 1 to {BATCH_ROWS_LIMIT}", key.text);
                    self.mistakes.push(Diagnostic::error(message, value.span));
                }
            },
            "guarantee" => match Guarantee::parse(&value.text) {
                Some(guarantee) => self.settings.guarantee = guarantee,
                None => {
                    let message = format!("there is no guarantee '{}'", value.text);
                    let mistake = Diagnostic::error(message, value.span);
                    let help = "there is 'exactly-once' and 'at-least-once'";
                    self.mistakes.push(mistake.help(help));
                }
            },
            "state.memory" => match parse_state_memory(&value.text) {
                Ok(bytes) => self.settings.state_memory = bytes,
                Err(error) => {
                    let message = format!("'{}': {error}", key.text);
                    self.mistakes.push(Diagnostic::error(message, value.span));
                }
            },
            "state.ttl" => {
                if let Some(ttl) = self.duration(&key, &value) {
                    check_state_ttl(ttl, &value.span, self.mistakes);
                    self.settings.state_ttl = Some(ttl);
                }
            }
            "tasks" => match value.text.parse::<usize>() {
                Ok(tasks) if (1..=TASKS_LIMIT).contains(&tasks) => self.settings.tasks = tasks,
                _ => {
                    let message = format!("'{}' must be from 1 to {TASKS_LIMIT}", key.text);
                    self.mistakes.push(Diagnostic::error(message, value.span));
                }
            },
            "standby.replicas" => self.read_standby_replicas(&key, &value),
            "pipeline.name" => {
                check_pipeline(&value, self.mistakes);
                self.name = value;
            }
            _ => {
                let message = format!("there is no setting '{}'", key.text);
                let diagnostic = Diagnostic::error(message, key.span);
                self.mistakes.push(diagnostic.did_you_mean(&key.text, SETTINGS));
            }
        }
        Ok(())
    }

    /// What views and queries name in FROM.
    fn read_names(&self) -> BTreeSet<String> {
        let views = self.views.iter().map(|view| &view.query);
        let queries = views.chain(self.inserts.iter().filter_map(|insert| insert.query.as_ref()));
        queries.flat_map(|query| names_read(query)).collect()
    }

    fn finish(mut self, file: &Arc<SourceFile>) -> Draft {
        let written = |name: &str| self.inserts.iter().any(|insert| insert.table.text == name);
        let read = self.read_names();
        let is_script = self.is_script;
        let (mut sources, mut derived) = (Vec::new(), Vec::new());
        let mut sinks = BTreeMap::new();
        let mut processing_times = Vec::new();
        for mut table in self.tables {
            let name = table.name.text.clone();
            let times = table.take_processing_times().into_iter();
            processing_times.extend(times.map(|column| (name.clone(), column)));
            let is_sink = written(&name);
            if !is_sink && !is_script && table.lacks_columns() {
                if !self.is_cut_off {
                    self.mistakes.push(nothing_known(&table.name, read.contains(&name)));
                }
                self.broken.push(name);
                continue;
            }
            let Finished { source, derived: of_query, sink } = table.finish(is_sink, self.mistakes);
            match source {
                Some(source) => sources.push(Arc::new(source)),
                None if of_query.is_none() => self.broken.push(name.clone()),
                None => {}
            }
            derived.extend(of_query.filter(|_| read.contains(&name)));
            sinks.extend(sink.map(|sink| (name, sink)));
        }
        let mut queries = Vec::new();
        for insert in self.inserts {
            let Some(sink) = sinks.get(&insert.table.text) else {
                if !self.broken.contains(&insert.table.text) {
                    let message = format!("there is no table '{}' to write", insert.table.text);
                    let diagnostic = Diagnostic::error(message, insert.table.span.clone());
                    let names = sinks.keys().map(String::as_str);
                    let names = names.chain(sources.iter().map(|source| source.name.as_str()));
                    self.mistakes.push(
                        diagnostic
                            .help("declare it: CREATE TABLE name WITH (format = 'json')")
                            .did_you_mean(&insert.table.text, names),
                    );
                }
                continue;
            };
            let Some(query) = insert.query else { continue };
            let (name, span) = (insert.table, insert.span);
            let (incomplete, sink, columns) = (false, sink.clone(), insert.columns);
            let emit = insert.emit;
            queries.push(DraftQuery { name, query, columns, incomplete, sink, emit, span });
        }
        Draft {
            file: Arc::clone(file),
            name: self.name,
            connectors: self.connectors,
            sources,
            derived,
            processing_times,
            functions: self.functions,
            views: self.views,
            queries,
            steps: Vec::new(),
            broken: self.broken,
            settings: self.settings,
            cases: Vec::new(),
        }
    }
}

/// A table without columns that no query writes.
fn nothing_known(table: &Named, is_read: bool) -> Diagnostic {
    let Named { text: name, span } = table;
    if is_read {
        let message = format!("table '{name}' has no columns, and no query writes it");
        let help = "name the columns and their types: CREATE TABLE name (id BIGINT, …)";
        return Diagnostic::error(message, span.clone()).help(help);
    }
    let message = format!("nothing reads or writes table '{name}', which has no columns");
    let mistake = Diagnostic::error(message, span.clone());
    let help = "write it by INSERT INTO, or leave it out";
    Diagnostic { severity: Severity::Warning, ..mistake }.help(help)
}

/// A statement that neither asks nor declares.
fn no_question(cursor: &Cursor<'_>) -> Diagnostic {
    let writes = ["INSERT", "UPDATE", "DELETE", "SET"].iter().any(|word| cursor.is_at_word(word));
    let word = cursor.peek().map(|token| token.token.to_string()).unwrap_or_default();
    let (message, help) = match (writes, word.to_ascii_uppercase().as_str()) {
        (true, _) => (
            "nothing is written here: this asks, by SELECT, WITH or VALUES".to_owned(),
            "INSERT INTO belongs in a pipeline file, for `millstream run`",
        ),
        (false, "SHOW" | "DESCRIBE" | "DESC") => (
            format!("there is no {word} here"),
            "`millstream topics list` shows topics, `millstream topics infer TOPIC` their columns",
        ),
        _ => (
            format!("there is no statement '{word}' here"),
            "ask by SELECT, WITH, VALUES or EXPLAIN; declare by CREATE TABLE and CREATE VIEW",
        ),
    };
    Diagnostic::error(message, cursor.span()).help(help)
}

fn unknown_statement(cursor: &Cursor<'_>, before: &str) -> Diagnostic {
    let word = cursor.peek().map(|token| token.token.to_string()).unwrap_or_default();
    let given = format!("{before}{word}");
    let message = format!("there is no statement '{given}'");
    let help = format!("there is {}", STATEMENTS.join(", "));
    let diagnostic = Diagnostic::error(message, cursor.span()).help(help);
    diagnostic.did_you_mean(&given.to_uppercase(), STATEMENTS)
}

/// Names for its columns, if there are any, and the query.
type ReadQuery = (Option<Vec<Named>>, Box<ast::Query>);

fn read_view(cursor: &mut Cursor<'_>) -> Result<ReadQuery, Diagnostic> {
    let mut columns = None;
    if cursor.peek().is_some_and(|token| token.token == Token::LParen) {
        let mut list = cursor.parenthesised("columns")?;
        let names = columns.insert(Vec::new());
        loop {
            names.push(list.name("a column")?);
            eat_comment(&mut list)?;
            if !list.eat(&Token::Comma) {
                break;
            }
        }
        list.expect_end()?;
    }
    eat_comment(cursor)?;
    cursor.expect_words(&["AS"])?;
    Ok((columns, cursor.parse_to(cursor.token_count(), |parser| parser.parse_query())?))
}

/// A list of columns, if there is one, and the query.
fn read_inserted(cursor: &mut Cursor<'_>, emit: Option<usize>) -> Result<ReadQuery, Diagnostic> {
    let opens = cursor.peek().is_some_and(|token| token.token == Token::LParen);
    let is_query = ["SELECT", "WITH", "VALUES"].iter().any(|word| cursor.nth_is_word(1, word));
    let mut columns = None;
    if opens && !is_query && !cursor.nth_is(1, &Token::LParen) {
        let mut list = cursor.parenthesised("columns")?;
        let mut names = vec![list.name("a column")?];
        while list.eat(&Token::Comma) {
            names.push(list.name("a column")?);
        }
        list.expect_end()?;
        columns = Some(names);
    }
    let to = emit.unwrap_or(cursor.token_count());
    Ok((columns, cursor.parse_to(to, |parser| parser.parse_query())?))
}

/// From EMIT on.
fn read_emit(cursor: &mut Cursor<'_>) -> Result<DraftEmit, Diagnostic> {
    let span = cursor.span();
    cursor.skip();
    if cursor.eat_words(&["CHANGES"]) {
        cursor.expect_end()?;
        return Ok(DraftEmit { changes: true, span });
    }
    if !cursor.eat_words(&["ON", "WINDOW", "CLOSE"]) && !cursor.eat_words(&["FINAL"]) {
        return Err(cursor.unexpected("ON WINDOW CLOSE or FINAL after EMIT"));
    }
    cursor.expect_end()?;
    Ok(DraftEmit { changes: false, span })
}
