//! Defines the macro that declares the tables of metrics, losses, augmentations and backbones.

/// Declares an enum that pipeline files write as a table with the key `kind`, together with a specification of each
/// variant. An entry holds everything that is known of a variant: its documentation comment is its description in the
/// JSON schema and in reports, the text after `=` is its name in pipeline files, and the block behind it fills in the
/// other fields of the specification type.
///
/// The specification type must have the fields `name` and `description`.
macro_rules! vocabulary {
    (
        $(#[$meta:meta])*
        pub enum $Enum:ident: $Spec:ident {
            $(
                $(#[doc = $doc:tt])+
                $Variant:ident $({ $($fields:tt)* })? $(($Inner:ty))? = $name:tt {
                    $($key:ident: $value:expr),+ $(,)?
                }
            )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(tag = "kind", deny_unknown_fields)]
        pub enum $Enum {
            $(
                $(#[doc = $doc])+
                #[serde(rename = $name)]
                $Variant $({ $($fields)* })? $(($Inner))?,
            )+
        }

        impl $Enum {
            /// The specifications of all variants, in the order in which they are documented.
            pub const TABLE: &'static [$Spec] = &[
                $($Spec { name: $name, description: concat!($($doc),+).trim_ascii(), $($key: $value),+ },)+
            ];

            /// The specification of this variant.
            pub fn spec(self) -> &'static $Spec {
                match self {
                    $($Enum::$Variant { .. } => const {
                        &$Spec { name: $name, description: concat!($($doc),+).trim_ascii(), $($key: $value),+ }
                    },)+
                }
            }

            /// Its `kind` in pipeline files.
            pub fn name(self) -> &'static str {
                self.spec().name
            }
        }
    };
}

pub(super) use vocabulary;
