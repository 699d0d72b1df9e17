use pyo3::prelude::*;

/// The native core of legato: tokenization, inference, references.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::python::chunks::Chunks;
    #[pymodule_export]
    use crate::python::encoding::{Encoding, Encodings};
    #[pymodule_export]
    use crate::python::engine::Engine;
    #[pymodule_export]
    use crate::python::files::ModelFiles;
    #[pymodule_export]
    use crate::python::format::{read_parquet, read_safetensors, write_parquet, write_safetensors};
    #[pymodule_export]
    use crate::python::inflate::{Inflated, inflate};
    #[pymodule_export]
    use crate::python::predict::TaskEngine;
    #[pymodule_export]
    use crate::python::reference::{Ref, on_unbound};
    #[pymodule_export]
    use crate::python::store::Store;
    #[pymodule_export]
    use crate::python::threads::{instruction_set, num_threads, set_num_threads};
    #[pymodule_export]
    use crate::python::tokenizer::Tokenizer;
    #[pymodule_export]
    use crate::python::tokens::Tokens;
    use pyo3::prelude::*;
    use pyo3::types::PyDict;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::python::enter::hide_panics();
        let media_types = PyDict::new(module.py());
        for (name, media_type) in crate::format::Form::all() {
            media_types.set_item(name, media_type)?;
        }
        module.add("MEDIA_TYPES", media_types)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
