//! The weights of a decoder as they are kept for this daemon: beside the GGUF a file in which each matrix lies in one of the kernels'
//! few layouts, made once (`repack`), mapped, and never read whole.

use super::families;
use super::spec::DecoderSpec;
use crate::error::LoadError;
use crate::gguf::{Gguf, GgufError, TensorInfo};
use crate::text::Vocabulary;
use hearth_kernels::grouped::{Layout, Weights};
use hearth_kernels::mapping::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
