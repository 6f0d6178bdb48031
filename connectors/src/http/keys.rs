//! The properties of the HTTP connectors, each declared once.

use crate::config::{ConfigKey, KeyFamily, KeyType, Presence, key};

use KeyType::{AnyList, AnyText, Boolean, Input, Integer, List, OneOf, Text, Topic};
use Presence::{Default, Optional, Required};

const MILLIS: KeyType = Integer { min: 1, max: 86_400_000 };
const AUTHORIZATIONS: KeyType = OneOf(&["none", "static", "basic", "bearer", "oauth2"]);

const CONDITION: ConfigKey = key(
    "condition",
    Text,
    Optional,
    "Which records the service is called for: fields compared with values, by and, or, not; a text \
     is compared with a number or a truth value by what it says",
    "value.status = 'paid' and value.amount >= 100",
);
const URL: ConfigKey = key(
    "http.url",
    Text,
    Optional,
    "The service's address, with parts of the record as {{value.id}}",
    "https://crm.example/customers/{{value.customer.id}}",
);
const METHOD: ConfigKey = key(
    "http.method",
    OneOf(&["POST", "PUT", "PATCH"]),
    Default("POST"),
    "How the service is called",
    "PUT",
);
const BODY: ConfigKey = key(
    "http.body",
    Text,
    Optional,
    "What is sent for a record, with parts of it; without it the record's value",
    "{\"order\": {{value}}, \"offset\": {{offset}}}",
);
const HEADERS: ConfigKey = key(
    "http.headers.additional",
    AnyList,
    Default(""),
    "Headers as name:value, separated by commas, with parts of the record",
    "Idempotency-Key:{{topic}}-{{partition}}-{{offset}}",
);
const CONTENT_TYPE: ConfigKey = key(
    "http.headers.content.type",
    Text,
    Optional,
    "The Content-Type; application/json, or application/x-ndjson for batches of lines",
    "application/vnd.orders+json",
);
const AUTHORIZATION_TYPE: ConfigKey = key(
    "http.authorization.type",
    AUTHORIZATIONS,
    Default("none"),
    "How we say who we are: by user and password, by a token, by one that OAuth 2 gives, or by a header as it is",
    "bearer",
);
const AUTHORIZATION: ConfigKey = key(
    "http.headers.authorization",
    Text,
    Optional,
    "The Authorization header of the type static",
    "${file:secrets.properties:authorization}",
);
const USER: ConfigKey =
    key("http.authorization.user", Text, Optional, "The user of the type basic", "millstream");
const PASSWORD: ConfigKey = key(
    "http.authorization.password",
    Text,
    Optional,
    "The password of the type basic; better by a config provider than here",
    "${env:CRM_PASSWORD}",
);
const TOKEN: ConfigKey = key(
    "http.authorization.token",
    Text,
    Optional,
    "The token of the type bearer; better by a config provider than here",
    "${env:CRM_TOKEN}",
);
#[rustfmt::skip]
mod oauth {
    use super::*;

    pub const URL: ConfigKey = key("oauth2.access.token.url", Text, Optional, "Where the type oauth2 gets its tokens, by client credentials; they are kept until they end or are refused", "https://login.example/oauth2/token");
    pub const ID: ConfigKey = key("oauth2.client.id", Text, Optional, "Whom the tokens are for", "millstream");
    pub const SECRET: ConfigKey = key("oauth2.client.secret", Text, Optional, "The secret to that; better by a config provider than here", "${env:CRM_SECRET}");
    pub const MODE: ConfigKey = key("oauth2.client.authorization.mode", OneOf(&["header", "url"]), Default("header"), "Where these two stand when a token is asked for: in the Authorization header, or in the form that is sent", "url");
    pub const SCOPE: ConfigKey = key("oauth2.client.scope", Text, Optional, "What the tokens are to allow, separated by blanks", "orders.read orders.write");
    pub const MORE: ConfigKey = key("oauth2.request.additional", AnyList, Default(""), "More of the form that asks for a token, as name:value, separated by commas", "audience:https://crm.example");
    pub const TOKEN: ConfigKey = key("oauth2.response.token.property", Text, Default("access_token"), "What the token is called in the answer", "access_token");
    pub const GRANT: ConfigKey = key("oauth2.grant.type", Text, Default("client_credentials"), "What is said as the kind of grant", "client_credentials");
    pub const GRANT_NAME: ConfigKey = key("oauth2.request.grant.type.property", Text, Default("grant_type"), "What that is called in the form", "grant_type");
    pub const ID_NAME: ConfigKey = key("oauth2.request.client.id.property", Text, Default("client_id"), "What the id is called in the form", "client_id");
    pub const SECRET_NAME: ConfigKey = key("oauth2.request.client.secret.property", Text, Default("client_secret"), "What the secret is called in the form", "client_secret");
}
const REQUEST_TIMEOUT: ConfigKey = key(
    "http.request.timeout.ms",
    MILLIS,
    Default("30000"),
    "How long a call may take, from connecting to the end of the answer",
    "5000",
);
const REQUEST_TIMEOUT_SECONDS: ConfigKey = key(
    "http.timeout",
    Integer { min: 1, max: 86_400 },
    Optional,
    "The same in seconds, as Aiven's connector has it",
    "30",
);
const CONNECT_TIMEOUT: ConfigKey = key(
    "http.connect.timeout.ms",
    MILLIS,
    Default("10000"),
    "How long connecting may take",
    "3000",
);
const REDIRECTS: ConfigKey = key(
    "http.redirects.max",
    Integer { min: 0, max: 50 },
    Default("5"),
    "How many redirects are followed that keep method and body (307, 308)",
    "0",
);
const TRUSTSTORE: ConfigKey = key(
    "http.ssl.truststore.location",
    Input,
    Optional,
    "The authorities to trust, as PEM, instead of the system's",
    "ca.pem",
);
#[rustfmt::skip]
const TRUST_ALL: ConfigKey = key("http.ssl.trust.all.certs", OneOf(&["false"]), Default("false"), "A server is trusted for its certificate alone: name the authority of one's own by http.ssl.truststore.location", "false");
const RETRIES: ConfigKey = key(
    "max.retries",
    Integer { min: -1, max: 1_000_000 },
    Default("10"),
    "How often a call is tried again before its record has failed; -1 for ever",
    "-1",
);
const BACKOFF: ConfigKey = key(
    "retry.backoff.ms",
    MILLIS,
    Default("500"),
    "The pause before the first retry; it doubles, and is spread at random",
    "3000",
);
const BACKOFF_MAX: ConfigKey =
    key("retry.backoff.max.ms", MILLIS, Default("30000"), "The longest such pause", "60000");
const RETRY_AFTER_MAX: ConfigKey = key(
    "retry.after.max.ms",
    MILLIS,
    Default("300000"),
    "The longest that a server's Retry-After is followed",
    "60000",
);
const RETRY_CODES: ConfigKey = key(
    "retry.on.status.codes",
    List,
    Default("408,425,429,500-599"),
    "Answers that are tried again; calls without an answer are in any case",
    "429,503",
);

#[rustfmt::skip]
pub(super) const SINK_KEYS: &[ConfigKey] = &[
    URL, METHOD, BODY, HEADERS, CONTENT_TYPE,
    AUTHORIZATION_TYPE, AUTHORIZATION, USER, PASSWORD, TOKEN, CONDITION,
    oauth::URL, oauth::ID, oauth::SECRET, oauth::MODE, oauth::SCOPE, oauth::MORE,
    oauth::TOKEN, oauth::GRANT, oauth::GRANT_NAME, oauth::ID_NAME, oauth::SECRET_NAME,
    key("services", AnyList, Default(""), "Names of services, where there are several: each has its own service.NAME.http.url and condition", "billing, audit"),
    key("batching.enabled", Boolean, Default("false"), "Whether several records go into one call", "true"),
    key("batch.max.size", Integer { min: 1, max: 100_000 }, Default("500"), "The most records in one call", "100"),
    key("batch.max.bytes", Integer { min: 1, max: 256 << 20 }, Default("1000000"), "The size at which a call takes no further record", "250000"),
    key("batch.format", OneOf(&["lines", "array"]), Default("lines"), "How they stand in it: one a line, or as a JSON array", "array"),
    key("batch.prefix", AnyText, Optional, "What stands before them instead", "{\"records\": ["),
    key("batch.suffix", AnyText, Optional, "What stands after them instead", "]}"),
    key("batch.separator", AnyText, Optional, "What stands between them instead; a line end if it is blank", ","),
    key("behavior.on.null.values", OneOf(&["ignore", "delete", "fail"]), Default("ignore"), "What becomes of a record without a value: it is left out, or the URL is called with DELETE, or it has failed", "delete"),
    key("http.max.in.flight", Integer { min: 1, max: 10_000 }, Default("16"), "The most calls at the same time; those of one key never are", "100"),
    RETRIES, BACKOFF, BACKOFF_MAX, RETRY_AFTER_MAX, RETRY_CODES,
    key("fail.on.status.codes", AnyList, Default("401,403,407"), "Answers that say that the fault is ours and not the record's: the task fails", "401"),
    REQUEST_TIMEOUT, REQUEST_TIMEOUT_SECONDS, CONNECT_TIMEOUT, REDIRECTS, TRUSTSTORE, TRUST_ALL,
];

pub(super) const SERVICES: KeyFamily = KeyFamily {
    list: "services",
    noun: "service",
    keys: &[
        URL,
        METHOD,
        BODY,
        HEADERS,
        CONTENT_TYPE,
        AUTHORIZATION_TYPE,
        AUTHORIZATION,
        USER,
        PASSWORD,
        TOKEN,
        CONDITION,
        oauth::URL,
        oauth::ID,
        oauth::SECRET,
        oauth::MODE,
        oauth::SCOPE,
        oauth::MORE,
        oauth::TOKEN,
        oauth::GRANT,
        oauth::GRANT_NAME,
        oauth::ID_NAME,
        oauth::SECRET_NAME,
    ],
    check: super::sink::check_service,
};

#[rustfmt::skip]
pub(super) const POLL_KEYS: &[ConfigKey] = &[
    key("http.url", Text, Required, "The address to ask, with {{offset}} where to go on from", "https://api.example/events?after={{offset}}"),
    key("topic", Topic, Required, "The topic to write to, created if it does not exist", "events"),
    key("poll.interval.ms", MILLIS, Default("60000"), "How often it is asked", "5000"),
    key("http.method", OneOf(&["GET", "POST"]), Default("GET"), "How it is asked", "POST"),
    key("http.body", Text, Optional, "What is sent, with {{offset}}", "{\"after\": {{offset}}}"),
    key("http.headers.additional", AnyList, Default(""), "Headers as name:value, separated by commas, with {{offset}}", "Accept:application/json"),
    AUTHORIZATION_TYPE, AUTHORIZATION, USER, PASSWORD, TOKEN,
    oauth::URL, oauth::ID, oauth::SECRET, oauth::MODE, oauth::SCOPE, oauth::MORE,
    oauth::TOKEN, oauth::GRANT, oauth::GRANT_NAME, oauth::ID_NAME, oauth::SECRET_NAME,
    key("http.response.list.pointer", AnyText, Default(""), "The JSON pointer to the records; an array is one record for each item", "/data/items"),
    key("http.response.record.pointer", AnyText, Default(""), "The JSON pointer within an item to what becomes the value", "/attributes"),
    key("http.response.record.key.pointer", Text, Optional, "The JSON pointer within an item to the key", "/id"),
    key("http.response.record.timestamp.pointer", Text, Optional, "The JSON pointer within an item to its time, in ms since 1970", "/created_at_ms"),
    key("http.response.record.offset.pointer", Text, Optional, "The JSON pointer within an item to its offset; the last item's is where to go on", "/id"),
    key("http.response.offset.pointer", Text, Optional, "The JSON pointer within the answer to where to go on", "/next_cursor"),
    key("http.offset.initial", AnyText, Default(""), "What {{offset}} is at first", "0"),
    key("http.response.bytes.max", Integer { min: 1, max: 256 << 20 }, Default("16777216"), "The longest answer that is read", "1000000"),
    RETRIES, BACKOFF, BACKOFF_MAX, RETRY_AFTER_MAX, RETRY_CODES,
    REQUEST_TIMEOUT, REQUEST_TIMEOUT_SECONDS, CONNECT_TIMEOUT, REDIRECTS, TRUSTSTORE, TRUST_ALL,
];

#[rustfmt::skip]
pub(super) const LISTENER_KEYS: &[ConfigKey] = &[
    key("topic", Topic, Required, "The topic to write to, created if it does not exist", "events"),
    key("http.listen", Text, Default("127.0.0.1:8090"), "Where to listen; port 0 picks one", "0.0.0.0:8090"),
    key("http.path", Text, Default("/"), "The path that takes records", "/events"),
    key("body.format", OneOf(&["json", "array", "lines", "raw"]), Default("json"), "What a body is: one JSON value, an array or lines of them, or anything; application/x-ndjson always means lines", "lines"),
    key("body.bytes.max", Integer { min: 1, max: 256 << 20 }, Default("1000000"), "The longest body; the default fits the topic's default max.message.bytes", "4000000"),
    key("record.key", Text, Optional, "The key, with {{value.id}} or {{header.NAME}} of the request", "{{value.customer.id}}"),
    key("record.headers", AnyList, Default(""), "Headers of a request that its records get", "X-Request-Id, Traceparent"),
    key("http.authorization.type", OneOf(&["none", "basic", "bearer"]), Default("none"), "How senders must say who they are", "bearer"),
    key("http.authorization.user", Text, Optional, "The user of the type basic", "millstream"),
    key("http.authorization.password", Text, Optional, "The password of the type basic; better by a config provider than here", "${env:HOOK_PASSWORD}"),
    key("http.authorization.token", Text, Optional, "The token of the type bearer; better by a config provider than here", "${env:HOOK_TOKEN}"),
    key("http.authorization.file", Input, Optional, "A file that has them instead, read again when it changes: NAME=PASSWORD or NAME=TOKEN lines, or hashes of them (`millstream users hash`, `sha256:HEX`)", "senders.properties"),
    key("http.ssl.keystore.location", Input, Optional, "A key and its certificates as PEM, read again when they change: records are taken by HTTPS", "server.pem"),
    key("http.ssl.keystore.key", Text, Optional, "The key instead, as PEM or its file", "${file:secrets.properties:key}"),
    key("http.ssl.keystore.certificate.chain", Text, Optional, "Its certificates instead, as PEM or their file", "server.crt"),
    key("http.ssl.client.auth", OneOf(&["none", "requested", "required"]), Optional, "Whether senders show certificates", "required"),
    key("http.ssl.truststore.location", Input, Optional, "Who vouches for those, as PEM", "ca.pem"),
    key("http.hosts", AnyList, Default(""), "Names by which senders may call a listener of this machine alone, beside localhost, if it does not ask who they are", "hooks.example"),
    key("access.control.allow.origin", AnyText, Default(""), "Sites whose pages may send (CORS), * for any; without it none may", "http://shop.example"),
    key("http.max.pending", Integer { min: 1, max: 100_000 }, Default("1000"), "How many requests may wait to be durable; more are answered 503", "100"),
    key("http.max.pending.bytes", Integer { min: 1, max: 4 << 30 }, Default("67108864"), "How many bytes of them", "16777216"),
    key("http.max.connections", Integer { min: 1, max: 100_000 }, Default("512"), "How many senders may be connected; more wait", "64"),
    key("http.ack.timeout.ms", MILLIS, Default("30000"), "How long a request may wait to be durable", "5000"),
];
