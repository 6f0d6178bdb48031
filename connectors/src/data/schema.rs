//! What a value is: its type, whether it may be missing, and what it stands for.
//!
//! A [`Schema`] is made by a [`SchemaBuilder`] and never changes afterwards. It is shared, so
//! records of the same shape cost no schema of their own, and it knows its hash, so that what is
//! derived from it is found quickly.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::{DataError, Text, Value};

/// The names by which Connect's own logical types are known.
pub mod logical {
    pub const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
    pub const DATE: &str = "org.apache.kafka.connect.data.Date";
    pub const TIME: &str = "org.apache.kafka.connect.data.Time";
    pub const TIMESTAMP: &str = "org.apache.kafka.connect.data.Timestamp";
    /// The parameter that says how many digits of a decimal follow the point.
    pub const SCALE: &str = "scale";
}

/// The type of a value; cheap to clone.
#[derive(Clone)]
pub struct Schema(Arc<Inner>);

struct Inner {
    shape: Shape,
    optional: bool,
    name: Option<Text>,
    version: Option<i32>,
    doc: Option<Text>,
    /// In the order in which they were given; `None` differs from none in what JSON says of it.
    parameters: Option<Vec<(Text, Text)>>,
    /// Boxed: few schemas have one.
    default: Option<Box<Value>>,
    logical: Option<Logical>,
    hash: u64,
}

/// The type with what belongs to it.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Shape {
    Plain(Type),
    Array(Schema),
    Map(Schema, Schema),
    Struct(Fields),
}

/// Which of Connect's own logical types a schema's name says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logical {
    Decimal,
    Date,
    Time,
    Timestamp,
}

/// Connect's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    Int8,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Boolean,
    String,
    Bytes,
    Array,
    Map,
    Struct,
}

/// One field of a struct.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    pub name: Text,
    pub schema: Schema,
}

#[derive(Clone)]
struct Fields {
    list: Vec<Field>,
    /// Where a field is, by its name. Only where a walk through the list would take longer.
    index: Option<HashMap<Text, usize>>,
}

/// Beyond it a decimal of few bytes would have no end of digits.
const SCALE_MAX: i32 = 100_000;
/// From how many fields on names are looked up by hash.
const INDEXED_FROM: usize = 9;

impl Schema {
    #[inline]
    pub fn type_(&self) -> Type {
        match &self.0.shape {
            Shape::Plain(plain) => *plain,
            Shape::Array(_) => Type::Array,
            Shape::Map(..) => Type::Map,
            Shape::Struct(_) => Type::Struct,
        }
    }

    #[inline]
    pub fn is_optional(&self) -> bool {
        self.0.optional
    }

    pub fn name(&self) -> Option<&Text> {
        self.0.name.as_ref()
    }

    pub fn version(&self) -> Option<i32> {
        self.0.version
    }

    pub fn doc(&self) -> Option<&Text> {
        self.0.doc.as_ref()
    }

    /// In the order in which they were given; `None` if there never were any.
    pub fn parameters(&self) -> Option<&[(Text, Text)]> {
        self.0.parameters.as_deref()
    }

    pub fn parameter(&self, name: &str) -> Option<&Text> {
        let mut all = self.0.parameters.iter().flatten();
        all.find(|(key, _)| key == name).map(|(_, value)| value)
    }

    #[inline]
    pub fn default(&self) -> Option<&Value> {
        self.0.default.as_deref()
    }

    /// Which of Connect's logical types this is, by its name.
    #[inline]
    pub fn logical(&self) -> Option<Logical> {
        self.0.logical
    }

    /// The fields of a struct; none of any other type.
    #[inline]
    pub fn fields(&self) -> &[Field] {
        match &self.0.shape {
            Shape::Struct(fields) => &fields.list,
            _ => &[],
        }
    }

    /// Where the field of that name is.
    pub fn field_index(&self, name: &str) -> Option<usize> {
        match &self.0.shape {
            Shape::Struct(fields) => fields.position(name),
            _ => None,
        }
    }

    pub fn field(&self, name: &str) -> Option<&Field> {
        self.field_index(name).map(|index| &self.fields()[index])
    }

    /// What a map's keys are.
    pub fn key_schema(&self) -> Option<&Schema> {
        match &self.0.shape {
            Shape::Map(key, _) => Some(key),
            _ => None,
        }
    }

    /// What the items of an array or the values of a map are.
    pub fn value_schema(&self) -> Option<&Schema> {
        match &self.0.shape {
            Shape::Array(value) | Shape::Map(_, value) => Some(value),
            _ => None,
        }
    }

    /// The digits after the point of a decimal.
    pub fn scale(&self) -> Result<i32, DataError> {
        let missing = || DataError::new("decimal schema: parameter 'scale' is missing");
        let text = self.parameter(logical::SCALE).ok_or_else(missing)?;
        let wrong = |_| DataError(format!("decimal schema: scale '{text}' is not a whole number"));
        let scale: i32 = text.parse().map_err(wrong)?;
        match scale.abs() <= SCALE_MAX {
            true => Ok(scale),
            false => Err(DataError(format!("decimal schema: scale {scale} is out of all reason"))),
        }
    }

    /// Whether both are one and the same in memory: a quick yes.
    #[inline]
    pub fn is_same(&self, other: &Schema) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A builder that starts with all that this schema has.
    pub fn to_builder(&self) -> SchemaBuilder {
        let inner = &self.0;
        SchemaBuilder {
            shape: inner.shape.clone(),
            optional: inner.optional,
            name: inner.name.clone(),
            version: inner.version,
            doc: inner.doc.clone(),
            parameters: inner.parameters.clone(),
            default: inner.default.clone(),
        }
    }

    /// A builder for a struct that has everything of this one but its fields, its default and
    /// whether it is optional: what transforms that choose fields start from.
    pub fn struct_basics(&self) -> SchemaBuilder {
        let mut builder = SchemaBuilder::structure();
        builder.name = self.0.name.clone();
        builder.version = self.0.version;
        builder.doc = self.0.doc.clone();
        if self.0.parameters.as_ref().is_some_and(|some| !some.is_empty()) {
            builder.parameters = self.0.parameters.clone();
        }
        builder
    }
}

/// Constructors of the types that need nothing more, required and optional.
macro_rules! plain_schemas {
    ($($name:ident, $optional:ident: $type:ident;)*) => {
        impl Schema {
            $(
                pub fn $name() -> Schema {
                    SchemaBuilder::of(Type::$type).build()
                }

                pub fn $optional() -> Schema {
                    SchemaBuilder::of(Type::$type).optional().build()
                }
            )*
        }
    };
}

plain_schemas! {
    int8, optional_int8: Int8;
    int16, optional_int16: Int16;
    int32, optional_int32: Int32;
    int64, optional_int64: Int64;
    float32, optional_float32: Float32;
    float64, optional_float64: Float64;
    boolean, optional_boolean: Boolean;
    string, optional_string: String;
    bytes, optional_bytes: Bytes;
}

impl PartialEq for Schema {
    fn eq(&self, other: &Schema) -> bool {
        if self.is_same(other) {
            return true;
        }
        let (a, b) = (&*self.0, &*other.0);
        a.hash == b.hash
            && a.optional == b.optional
            && a.version == b.version
            && a.name == b.name
            && a.doc == b.doc
            && same_parameters(a.parameters.as_deref(), b.parameters.as_deref())
            && a.default == b.default
            && a.shape == b.shape
    }
}

impl Eq for Schema {}

impl Hash for Schema {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

/// Their order says nothing.
fn same_parameters(a: Option<&[(Text, Text)]>, b: Option<&[(Text, Text)]>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().all(|one| b.contains(one)),
        (None, None) => true,
        _ => false,
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.shape, &self.0.name) {
            (_, Some(name)) => write!(f, "{name}:{}", self.type_())?,
            (Shape::Array(items), None) => write!(f, "array<{items:?}>")?,
            (Shape::Map(key, value), None) => write!(f, "map<{key:?}, {value:?}>")?,
            (Shape::Struct(fields), None) => {
                f.write_str("struct")?;
                let fields = fields.list.iter().map(|field| (&field.name, &field.schema));
                f.debug_map().entries(fields).finish()?;
            }
            (Shape::Plain(plain), None) => write!(f, "{plain}")?,
        }
        f.write_str(if self.0.optional { "?" } else { "" })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Type {
    /// As Connect's JSON schemas call it, save for floats, which they call `float` and `double`.
    pub fn name(self) -> &'static str {
        match self {
            Type::Int8 => "int8",
            Type::Int16 => "int16",
            Type::Int32 => "int32",
            Type::Int64 => "int64",
            Type::Float32 => "float32",
            Type::Float64 => "float64",
            Type::Boolean => "boolean",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Array => "array",
            Type::Map => "map",
            Type::Struct => "struct",
        }
    }

    /// Whether values of it hold no others.
    pub fn is_primitive(self) -> bool {
        !matches!(self, Type::Array | Type::Map | Type::Struct)
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Fields) -> bool {
        self.list == other.list
    }
}

impl Eq for Fields {}

impl Hash for Fields {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.list.hash(state);
    }
}

impl Fields {
    fn position(&self, name: &str) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(name.as_bytes()).copied(),
            None => self.list.iter().position(|field| field.name == name),
        }
    }
}

/// Makes a [`Schema`].
#[derive(Clone)]
pub struct SchemaBuilder {
    shape: Shape,
    optional: bool,
    name: Option<Text>,
    version: Option<i32>,
    doc: Option<Text>,
    parameters: Option<Vec<(Text, Text)>>,
    default: Option<Box<Value>>,
}

impl SchemaBuilder {
    /// A type without parts: neither array, map nor struct.
    pub fn of(plain: Type) -> SchemaBuilder {
        assert!(plain.is_primitive(), "a type with parts has a constructor of its own");
        SchemaBuilder::with_shape(Shape::Plain(plain))
    }

    pub fn array(items: Schema) -> SchemaBuilder {
        SchemaBuilder::with_shape(Shape::Array(items))
    }

    pub fn map(key: Schema, value: Schema) -> SchemaBuilder {
        SchemaBuilder::with_shape(Shape::Map(key, value))
    }

    /// A struct; add its fields one by one.
    pub fn structure() -> SchemaBuilder {
        SchemaBuilder::with_shape(Shape::Struct(Fields { list: Vec::new(), index: None }))
    }

    pub fn decimal(scale: i32) -> SchemaBuilder {
        let builder = SchemaBuilder::of(Type::Bytes).name(logical::DECIMAL).version(1);
        builder.parameter(logical::SCALE, scale.to_string())
    }

    pub fn date() -> SchemaBuilder {
        SchemaBuilder::of(Type::Int32).name(logical::DATE).version(1)
    }

    pub fn time() -> SchemaBuilder {
        SchemaBuilder::of(Type::Int32).name(logical::TIME).version(1)
    }

    pub fn timestamp() -> SchemaBuilder {
        SchemaBuilder::of(Type::Int64).name(logical::TIMESTAMP).version(1)
    }

    fn with_shape(shape: Shape) -> SchemaBuilder {
        SchemaBuilder {
            shape,
            optional: false,
            name: None,
            version: None,
            doc: None,
            parameters: None,
            default: None,
        }
    }

    pub fn optional(mut self) -> SchemaBuilder {
        self.optional = true;
        self
    }

    pub fn required(mut self) -> SchemaBuilder {
        self.optional = false;
        self
    }

    pub fn name(mut self, name: impl Into<Text>) -> SchemaBuilder {
        self.name = Some(name.into());
        self
    }

    pub fn version(mut self, version: i32) -> SchemaBuilder {
        self.version = Some(version);
        self
    }

    pub fn doc(mut self, doc: impl Into<Text>) -> SchemaBuilder {
        self.doc = Some(doc.into());
        self
    }

    pub fn parameter(mut self, key: impl Into<Text>, value: impl Into<Text>) -> SchemaBuilder {
        let (key, value) = (key.into(), value.into());
        let parameters = self.parameters.get_or_insert_default();
        match parameters.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => parameters.push((key, value)),
        }
        self
    }

    /// The value that stands in for a missing one. Whether it fits is checked where it is used,
    /// as any value is.
    pub fn default(mut self, value: Value) -> SchemaBuilder {
        self.default = (!matches!(value, Value::Null)).then(|| Box::new(value));
        self
    }

    /// Adds a field to a struct; one of the same name is replaced where it is.
    pub fn field(mut self, name: impl Into<Text>, schema: Schema) -> SchemaBuilder {
        let Shape::Struct(fields) = &mut self.shape else {
            panic!("only a struct has fields");
        };
        let name = name.into();
        match fields.position(&name) {
            Some(index) => fields.list[index].schema = schema,
            None => {
                if let Some(index) = &mut fields.index {
                    index.insert(name.clone(), fields.list.len());
                }
                fields.list.push(Field { name, schema });
                if fields.index.is_none() && fields.list.len() >= INDEXED_FROM {
                    let names = fields.list.iter().map(|field| field.name.clone());
                    fields.index = Some(names.zip(0..).collect());
                }
            }
        }
        self
    }

    pub fn build(self) -> Schema {
        let logical = self.name.as_ref().and_then(|name| match name.as_str() {
            logical::DECIMAL => Some(Logical::Decimal),
            logical::DATE => Some(Logical::Date),
            logical::TIME => Some(Logical::Time),
            logical::TIMESTAMP => Some(Logical::Timestamp),
            _ => None,
        });
        let mut hasher = DefaultHasher::new();
        self.shape.hash(&mut hasher);
        self.optional.hash(&mut hasher);
        (&self.name, self.version, &self.doc).hash(&mut hasher);
        self.parameters.as_ref().map(Vec::len).hash(&mut hasher);
        self.default.hash(&mut hasher);
        let SchemaBuilder { shape, optional, name, version, doc, parameters, default } = self;
        let hash = hasher.finish();
        Schema(Arc::new(Inner {
            shape,
            optional,
            name,
            version,
            doc,
            parameters,
            default,
            logical,
            hash,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person() -> Schema {
        let fields = (0..20).fold(SchemaBuilder::structure(), |builder, number| {
            builder.field(format!("f{number}"), Schema::optional_int32())
        });
        fields.name("person").version(2).parameter("a", "1").parameter("b", "2").build()
    }

    #[test]
    fn equal_schemas_hash_alike_however_they_were_made() {
        let (one, other) = (person(), person());
        assert!(!one.is_same(&other));
        assert_eq!(one, other);
        assert_eq!(one.0.hash, other.0.hash);
        let again = one.to_builder().build();
        assert_eq!(one, again);
        let swapped = one.struct_basics();
        assert_ne!(one, swapped.build());
        let order = SchemaBuilder::of(Type::String).parameter("b", "2").parameter("a", "1");
        let turned = SchemaBuilder::of(Type::String).parameter("a", "1").parameter("b", "2");
        assert_eq!(order.build(), turned.build());
    }

    #[test]
    fn every_part_counts() {
        let base = || SchemaBuilder::of(Type::Int32);
        let schemas = [
            base().build(),
            base().optional().build(),
            base().name("n").build(),
            base().version(1).build(),
            base().doc("d").build(),
            base().parameter("k", "v").build(),
            base().parameter("k", "w").build(),
            base().default(Value::Int32(1)).build(),
            SchemaBuilder::date().build(),
            SchemaBuilder::array(Schema::int32()).build(),
            SchemaBuilder::map(Schema::int32(), Schema::int32()).build(),
            SchemaBuilder::structure().field("a", Schema::int32()).build(),
            SchemaBuilder::structure().field("b", Schema::int32()).build(),
        ];
        for (i, one) in schemas.iter().enumerate() {
            for (j, other) in schemas.iter().enumerate() {
                assert_eq!(one == other, i == j, "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn fields_are_found_by_name_in_small_and_large_structs() {
        let large = person();
        assert_eq!(large.field_index("f0"), Some(0));
        assert_eq!(large.field_index("f19"), Some(19));
        assert_eq!(large.field_index("f20"), None);
        let replaced = large.to_builder().field("f3", Schema::string()).build();
        assert_eq!(replaced.fields().len(), 20);
        assert_eq!(replaced.field("f3").unwrap().schema, Schema::string());
        let small = SchemaBuilder::structure().field("a", Schema::int8()).build();
        assert_eq!((small.field_index("a"), small.field_index("b")), (Some(0), None));
        assert_eq!(Schema::int8().field_index("a"), None);
    }

    #[test]
    fn a_decimals_scale_is_read_or_complained_of() {
        assert_eq!(SchemaBuilder::decimal(-3).build().scale(), Ok(-3));
        assert!(Schema::bytes().scale().unwrap_err().0.contains("missing"));
        let odd = SchemaBuilder::decimal(2).parameter("scale", "two").build();
        assert!(odd.scale().unwrap_err().0.contains("'two'"));
        assert_eq!(odd.logical(), Some(Logical::Decimal));
    }
}
