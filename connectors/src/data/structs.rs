//! Values by field.

use super::{DataError, Schema, Type, Value};

/// A value for each field of a struct schema, in the schema's order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Struct {
    schema: Schema,
    values: Vec<Value>,
}

impl Struct {
    /// All fields null, to be filled.
    pub fn new(schema: &Schema) -> Struct {
        assert_eq!(schema.type_(), Type::Struct, "a struct is made of a struct schema");
        Struct { schema: schema.clone(), values: vec![Value::Null; schema.fields().len()] }
    }

    /// Takes one value per field, in the schema's order: the quick way. That each value fits its
    /// field is left to [`check`](Struct::check), and to converters as they write it.
    pub fn with_values(schema: &Schema, values: Vec<Value>) -> Struct {
        assert_eq!(schema.fields().len(), values.len(), "one value per field");
        Struct { schema: schema.clone(), values }
    }

    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// One per field, in the schema's order; null where nothing was put.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    pub fn into_values(self) -> Vec<Value> {
        self.values
    }

    /// The value of a field, or its default where it is null.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.schema.field_index(name).map(|index| self.at(index))
    }

    /// The value of a field as it was put.
    pub fn get_without_default(&self, name: &str) -> Option<&Value> {
        self.schema.field_index(name).map(|index| &self.values[index])
    }

    /// The value of the field at that place, or its default where it is null.
    pub fn at(&self, index: usize) -> &Value {
        match &self.values[index] {
            Value::Null => self.schema.fields()[index].schema.default().unwrap_or(&Value::Null),
            value => value,
        }
    }

    /// Sets a field, if there is one of that name and the value fits it.
    pub fn put(&mut self, name: &str, value: Value) -> Result<(), DataError> {
        let Some(index) = self.schema.field_index(name) else {
            return Err(DataError(format!("there is no field '{name}' in {:?}", self.schema)));
        };
        let field = &self.schema.fields()[index];
        if !(value.is_null() && field.schema.default().is_some()) {
            let at = format_args!("field '{name}'");
            value.check(&field.schema).map_err(|error| error.within(at))?;
        }
        self.values[index] = value;
        Ok(())
    }

    /// Sets the field at that place, which the value is known to fit.
    pub fn set(&mut self, index: usize, value: Value) {
        self.values[index] = value;
    }

    /// Whether every field holds what its schema allows.
    pub fn check(&self) -> Result<(), DataError> {
        for (field, value) in self.schema.fields().iter().zip(&self.values) {
            if value.is_null() && field.schema.default().is_some() {
                continue;
            }
            let at = format_args!("field '{}'", field.name);
            value.check(&field.schema).map_err(|error| error.within(at))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::SchemaBuilder;

    fn schema() -> Schema {
        let count = Schema::int32().to_builder().default(Value::Int32(7)).build();
        let builder = SchemaBuilder::structure().field("id", Schema::int64());
        builder.field("count", count).field("note", Schema::optional_string()).build()
    }

    #[test]
    fn defaults_stand_in_for_what_is_missing() {
        let mut value = Struct::new(&schema());
        assert!(value.check().unwrap_err().to_string().starts_with("field 'id': null"));
        value.put("id", Value::Int64(1)).unwrap();
        assert_eq!(value.check(), Ok(()));
        assert_eq!(value.get("count"), Some(&Value::Int32(7)));
        assert_eq!(value.get_without_default("count"), Some(&Value::Null));
        assert_eq!(value.get("note"), Some(&Value::Null));
        assert_eq!(value.get("other"), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut value = Struct::new(&schema());
        let wrong = value.put("id", Value::Int32(1)).unwrap_err();
        assert_eq!(wrong.to_string(), "field 'id': an int32 where int64 is expected");
        assert!(value.put("ID", Value::Int64(1)).unwrap_err().0.contains("no field 'ID'"));
        let mut outer = SchemaBuilder::structure().field("inner", schema()).build();
        outer = outer.to_builder().optional().build();
        let mut holder = Struct::new(&outer);
        assert!(holder.put("inner", Value::structure(value)).is_err(), "its id is missing");
    }
}
