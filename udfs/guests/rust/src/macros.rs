//! What is made of functions, rows and states that [`udf`](crate::udf) and the derives read.

/// A function as [`udf`](crate::udf) has read it: whether it is deterministic, whether it takes
/// rows back, what it is called in SQL, and what it is like.
#[doc(hidden)]
#[macro_export]
macro_rules! function {
    ($is_deterministic:literal, $retracts:literal, $called:literal, scalar $name:ident
        ($($argument:ident : $type:ty $(= $default:literal)?),*) -> $returns:ty
    ) => {
        $crate::registered! {
            line: line!(),
            signature: || $crate::signature!(Scalar, $is_deterministic, $retracts, $called,
                ($($argument: $type $(= $default)?),*) -> $returns),
            run: |_, batch| $crate::run_scalar!(batch, $name ($($argument: $type),*) -> $returns),
        }
    };
    ($is_deterministic:literal, $retracts:literal, $called:literal, table $name:ident
        ($($argument:ident : $type:ty $(= $default:literal)?),*) -> $returns:ty
    ) => {
        $crate::registered! {
            line: line!(),
            signature: || $crate::signature!(Table, $is_deterministic, $retracts, $called,
                ($($argument: $type $(= $default)?),*) -> $returns),
            run: |_, batch| $crate::run_table!(batch, $name ($($argument: $type),*) -> $returns),
        }
    };
    ($is_deterministic:literal, true, $called:literal, aggregate $state:ident
        ($($argument:ident : $type:ty $(= $default:literal)?),*) -> $returns:ty
    ) => {
        $crate::registered! {
            line: line!(),
            signature: || $crate::signature!(Aggregate, $is_deterministic, true, $called,
                ($($argument: $type $(= $default)?),*) -> $returns),
            run: |operation, batch| $crate::run_aggregate!(
                operation, batch, ($($argument: $type),*) -> $returns, $state,
                |state, row| {
                    <$state as $crate::Retract>::retract(state, row);
                    Ok(())
                }),
        }
    };
    ($is_deterministic:literal, false, $called:literal, aggregate $state:ident
        ($($argument:ident : $type:ty $(= $default:literal)?),*) -> $returns:ty
    ) => {
        $crate::registered! {
            line: line!(),
            signature: || $crate::signature!(Aggregate, $is_deterministic, false, $called,
                ($($argument: $type $(= $default)?),*) -> $returns),
            run: |operation, batch| $crate::run_aggregate!(
                operation, batch, ($($argument: $type),*) -> $returns, $state,
                |_: &mut $state, _| Err("it cannot take rows back".to_owned())),
        }
    };
}

/// Adds a function to those of the module before anything is called.
#[doc(hidden)]
#[macro_export]
macro_rules! registered {
    ($($function:tt)*) => {
        const _: () = {
            static FUNCTION: $crate::abi::Function = $crate::abi::Function { $($function)* };

            extern "C" fn register() {
                $crate::abi::register(&FUNCTION);
            }

            #[used]
            #[cfg_attr(target_family = "wasm", unsafe(link_section = ".init_array"))]
            static REGISTER: extern "C" fn() = register;
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! signature {
    ($kind:ident, $is_deterministic:literal, $retracts:literal, $called:literal,
        ($($argument:ident : $type:ty $(= $default:literal)?),*) -> $returns:ty
    ) => {
        $crate::abi::Signature {
            name: $called,
            kind: $crate::abi::Kind::$kind,
            arguments: vec![$($crate::abi::Argument {
                name: stringify!($argument),
                sql_type: <$type as $crate::Sql>::name(),
                default: None$(.or(Some(concat!($default))))?,
            }),*],
            returns: <$returns as $crate::Sql>::name(),
            sees_null: false $(|| <$type as $crate::Input<'_>>::IS_OPTION)*,
            is_deterministic: $is_deterministic,
            retracts: $retracts,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! run_scalar {
    ($batch:ident, $name:ident ($($argument:ident : $type:ty),*) -> $returns:ty) => {{
        // An argument may have the name of the function.
        let function = $name;
        #[allow(unused_mut, reason = "there may be no arguments")]
        let mut inputs = $crate::Inputs::new($batch);
        $(let mut $argument = <$type as $crate::Input<'_>>::column(&mut inputs);)*
        let mut values = <<$returns as $crate::Output>::Column>::default();
        if true $(&& <$type as $crate::Input<'_>>::has_all(&$argument))* {
            $(<$type as $crate::Input<'_>>::cut(&mut $argument, $batch.rows);)*
            let results = (0..$batch.rows).map(|_row| -> $returns {
                function($(<$type as $crate::Input<'_>>::item(&$argument, _row)),*)
            });
            let put = $crate::Output::put_all(results, &mut values);
            put.map_err(|(row, message)| $crate::abi::Failure { row: Some(row as u32), message })?;
            return Ok($crate::Outputs::of(values));
        }
        for row in 0..$batch.rows {
            $(let Some($argument) = <$type as $crate::Input<'_>>::get(&$argument, row) else {
                $crate::Column::put_null(&mut values);
                continue;
            };)*
            let value: $returns = function($($argument),*);
            if let Err(message) = $crate::Output::put(value, &mut values) {
                return Err($crate::abi::Failure { row: Some(row as u32), message });
            }
        }
        Ok($crate::Outputs::of(values))
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! run_table {
    ($batch:ident, $name:ident ($($argument:ident : $type:ty),*) -> $returns:ty) => {{
        let function = $name;
        #[allow(unused_mut, reason = "there may be no arguments")]
        let mut inputs = $crate::Inputs::new($batch);
        $(let $argument = <$type as $crate::Input<'_>>::column(&mut inputs);)*
        let mut rows = <<u32 as $crate::Output>::Column>::default();
        let mut values = <<$returns as $crate::Output>::Column>::default();
        for row in 0..$batch.rows {
            let failed = |message| $crate::abi::Failure { row: Some(row as u32), message };
            $(let Some($argument) = <$type as $crate::Input<'_>>::get(&$argument, row) else {
                continue;
            };)*
            for value in function($($argument),*) {
                let value: $returns = value;
                $crate::Output::put(value, &mut values).map_err(failed)?;
                $crate::Output::put(row as u32, &mut rows).map_err(failed)?;
            }
        }
        let mut outputs = $crate::Outputs::of(rows);
        outputs.push(values);
        Ok(outputs)
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! run_aggregate {
    ($operation:ident, $batch:ident, ($($argument:ident : $type:ty),*) -> $returns:ty,
        $state:ty, $retract:expr
    ) => {{
        // What is declared is what it gives.
        let _: fn(&$state) -> $returns = <$state as $crate::Aggregate>::finish;
        let mut inputs = $crate::Inputs::new($batch);
        let mut states: Vec<$state> = $crate::macro_support::states(&mut inputs, $batch)?;
        match $operation {
            $crate::abi::Operation::Finish => return $crate::macro_support::finish(&states),
            $crate::abi::Operation::Merge => {
                return $crate::macro_support::merge(states, &mut inputs, $batch);
            }
            _ => {}
        }
        let groups = <u32 as $crate::Input<'_>>::column(&mut inputs);
        $(let $argument = <$type as $crate::Input<'_>>::column(&mut inputs);)*
        for row in 0..$batch.rows {
            let Some(group) = <u32 as $crate::Input<'_>>::get(&groups, row) else { continue };
            $(let Some($argument) = <$type as $crate::Input<'_>>::get(&$argument, row) else {
                continue;
            };)*
            let state = &mut states[group as usize];
            match $operation {
                $crate::abi::Operation::Retract => {
                    let retracted: Result<(), String> = $retract(state, ($($argument),*));
                    let failed = |message| $crate::abi::Failure { row: Some(row as u32), message };
                    retracted.map_err(failed)?;
                }
                _ => <$state as $crate::Aggregate>::update(state, ($($argument),*)),
            }
        }
        $crate::macro_support::save(&states)
    }};
}

/// A struct as [`Row`](derive@crate::Row) has read it.
#[doc(hidden)]
#[macro_export]
macro_rules! row_type {
    ([$row:ty] [$($life:lifetime)?] [$input:lifetime] $name:ident,
        $($(#[$attribute:meta])* $visible:vis $field:ident : $type:ty),* $(,)?
    ) => {
        const _: () = {
            use $crate::macro_support::Validity;

            impl$(<$life>)? $crate::Sql for $row {
                fn name() -> String {
                    let fields = [$(format!("\"{}\" {}", stringify!($field), <$type>::name())),*];
                    format!("row<{}>", fields.join(", "))
                }
            }

            #[derive(Default)]
            #[allow(non_camel_case_types, reason = "a type is named as its field")]
            pub struct Written<$($field),*> {
                __validity: Validity,
                $($field: $field),*
            }

            #[allow(non_camel_case_types, reason = "a type is named as its field")]
            impl<$($field: $crate::Column),*> $crate::Column for Written<$($field),*> {
                fn put_null(&mut self) {
                    self.__validity.put(false);
                    $(self.$field.put_null();)*
                }

                fn finish(self, outputs: &mut $crate::Outputs) {
                    self.__validity.finish(outputs);
                    $(self.$field.finish(outputs);)*
                }
            }

            impl$(<$life>)? $crate::Output for $row {
                type Column = Written<$(<$type as $crate::Output>::Column),*>;

                fn put(self, column: &mut Self::Column) -> Result<(), String> {
                    $($crate::Output::put(self.$field, &mut column.$field)?;)*
                    column.__validity.put(true);
                    Ok(())
                }
            }

            impl<$input> $crate::Input<$input> for $row {
                type Column =
                    ($crate::Present<$input>, $(<$type as $crate::Input<$input>>::Column,)*);

                fn column(inputs: &mut $crate::Inputs<$input>) -> Self::Column {
                    (inputs.present(), $(<$type as $crate::Input<$input>>::column(inputs),)*)
                }

                fn get(column: &Self::Column, row: usize) -> Option<Self> {
                    let (present, $($field,)*) = column;
                    present.has(row).then_some(())?;
                    Some($name { $($field: <$type as $crate::Input<$input>>::get($field, row)?,)* })
                }
            }
        };
    };
}

/// A struct as [`State`](derive@crate::State) has read it.
#[doc(hidden)]
#[macro_export]
macro_rules! state_type {
    ($name:ident, $($(#[$about:meta])* $seen:vis $field:ident : $type:ty),* $(,)?) => {
        impl $crate::State for $name {
            fn write(&self, to: &mut Vec<u8>) {
                $($crate::State::write(&self.$field, to);)*
            }

            fn read(from: &mut &[u8]) -> Option<Self> {
                Some($name { $($field: <$type as $crate::State>::read(from)?,)* })
            }
        }
    };
}
