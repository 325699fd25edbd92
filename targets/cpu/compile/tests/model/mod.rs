//! A model made by hand, with kernels written in C: `hidden = relu(x * w)`, `y = hidden + b`, and the
//! sum of `y`. `w` is packed in blocks of four columns, so packing is tested too.
#![allow(dead_code)]

use tinyc_compiler::diag::{Error, Origin, Result};
use tinyc_compiler::program::*;
use tinyc_compiler::uop::{DType, Uops};

/// Rows of x.
pub const M: i64 = 6;
/// Columns of x.
pub const K: i64 = 5;
/// Columns of w, not a multiple of four.
pub const N: i64 = 7;

fn weight(name: &str, shape: &[i64], scale: f32) -> Weight {
    let count: i64 = shape.iter().product();
    let bytes: Vec<u8> = (0..count)
        .flat_map(|i| ((i % 11 - 5) as f32 * scale).to_le_bytes())
        .collect();
    Weight {
        name: name.into(),
        dtype: DType::F32,
        shape: shape.to_vec(),
        bytes: Bytes::new(bytes),
    }
}

fn linear(name: &str, params: &[(i64, Access)], parallel: i64) -> LinearKernel {
    LinearKernel {
        name: name.into(),
        uops: Uops::new(),
        list: Vec::new(),
        params: params
            .iter()
            .map(|&(elements, access)| LinearParam {
                dtype: DType::F32,
                elements,
                access,
            })
            .collect(),
        parallel,
        flops: 100,
        origins: vec![Origin::new("fc", "MatMul", "hidden")],
    }
}

/// C of the kernels.
pub fn render(kernel: &LinearKernel) -> Result<String> {
    let name = &kernel.name;
    let body = if name.ends_with("k0_matmul_relu") {
        "const float *x = (const float *)args[0], *w = (const float *)args[1]; float *h = (float *)args[2];
         for (int64_t i = 6 * worker / workers; i < 6 * (worker + 1) / workers; i++)
             for (int64_t j = 0; j < 7; j++) {
                 float s = 0;
                 for (int64_t k = 0; k < 5; k++) s += x[i * 5 + k] * w[(j / 4 * 5 + k) * 4 + j % 4];
                 h[i * 7 + j] = s > 0 ? s : 0;
             }"
    } else if name.ends_with("k1_add") {
        "const float *h = (const float *)args[0], *b = (const float *)args[1]; float *y = (float *)args[2];
         for (int64_t i = 42 * worker / workers; i < 42 * (worker + 1) / workers; i++) y[i] = h[i] + b[i % 7];"
    } else if name.ends_with("k2_sum") {
        "const float *y = (const float *)args[0]; float *s = (float *)args[1];
         (void)workers; if (worker != 0) return;
         float t = 0; for (int64_t i = 0; i < 42; i++) t += y[i]; s[0] = t;"
    } else if name.ends_with("k0_half") {
        // Before F16C the compiler calls a function for this.
        "if (worker == 0) for (int i = 0; i < 3; i++) {
             volatile _Float16 h = (_Float16)(0.1f * i);
             args[0][i] = (float)h > 0.05f && (float)h < 0.15f;
         }
         (void)workers;"
    } else if name.ends_with("k0_fill") {
        "if (worker == 0) for (int i = 0; i < 3; i++) args[0][i] = i == 1; (void)workers;"
    } else {
        return Err(Error::bug(format!("no C for {name}")));
    };
    Ok(format!(
        "void {name}(uint8_t *const *args, int64_t worker, int64_t workers) {{\n{body}\n}}\n"
    ))
}

/// The program.
pub fn built(name: &str) -> Built {
    let buffer = |name: &str, layout: Layout, kind: BufferKind| Buffer {
        name: name.into(),
        dtype: DType::F32,
        layout,
        kind,
    };
    let w = weight("w", &[K, N], 0.25);
    let b = weight("b", &[N], 0.5);
    let packed = Layout {
        shape: vec![K, N],
        halo: Vec::new(),
        axes: [(1, 4, 2), (0, 1, K), (1, 1, 4)]
            .map(|(dim, div, extent)| LayoutAxis { dim, div, extent })
            .to_vec(),
    };
    let rm = Layout::row_major;
    let buffers = vec![
        buffer("x", rm(&[M, K]), BufferKind::Input(0)),
        buffer("w", packed, BufferKind::Weight(w)),
        buffer("hidden", rm(&[M, N]), BufferKind::Internal),
        buffer("b", rm(&[N]), BufferKind::Weight(b)),
        buffer("y", rm(&[M, N]), BufferKind::Output(0)),
        buffer("sum", rm(&[]), BufferKind::Output(1)),
    ];
    let linear = vec![
        linear(
            "k0_matmul_relu",
            &[
                (M * K, Access::Read),
                (40, Access::Read),
                (42, Access::Write),
            ],
            M,
        ),
        linear(
            "k1_add",
            &[(42, Access::Read), (7, Access::Read), (42, Access::Write)],
            42,
        ),
        linear("k2_sum", &[(42, Access::Read), (1, Access::Write)], 1),
    ];
    let kernels = linear
        .iter()
        .map(|k| {
            let mut uops = Uops::new();
            let sink = uops.sink(&[]);
            Kernel {
                name: k.name.clone(),
                uops,
                sink,
                params: Vec::new(),
                origins: k.origins.clone(),
            }
        })
        .collect();
    let step = |kernel: usize, args: &[u32]| Step {
        kernel,
        args: args.iter().map(|&a| BufferId(a)).collect(),
        origins: Vec::new(),
        condition: None,
    };
    let io = |name: &str, shape: &[i64], buffer: u32| Io {
        name: name.into(),
        dtype: DType::F32,
        shape: shape.to_vec(),
        buffer: BufferId(buffer),
    };
    Built {
        program: Program {
            name: name.into(),
            kernels,
            buffers,
            steps: vec![step(0, &[0, 1, 2]), step(1, &[2, 3, 4]), step(2, &[4, 5])],
            inputs: vec![io("x:0", &[M, K], 0)],
            outputs: vec![io("y", &[M, N], 4), io("x/0", &[], 5)],
        },
        linear,
        plan: Plan {
            places: vec![
                Place::Input(0),
                Place::Weights(0),
                Place::Arena(0),
                Place::Weights(192),
                Place::Output(0),
                Place::Output(1),
            ],
            arena_bytes: 192,
            arena_lower_bound: 168,
            weight_bytes: 256,
        },
        meta: Meta {
            model_sha256: "00".repeat(32),
            options: vec!["precision=f32".into()],
            ..Meta::default()
        },
    }
}

/// A program without inputs and weights: writes `[false, true, false]`.
pub fn constant(name: &str) -> Built {
    let mut built = built(name);
    built.linear = vec![LinearKernel {
        params: vec![LinearParam {
            dtype: DType::Bool,
            elements: 3,
            access: Access::Write,
        }],
        ..linear("k0_fill", &[], 1)
    }];
    built.program.kernels.truncate(1);
    built.program.buffers = vec![Buffer {
        name: "flags".into(),
        dtype: DType::Bool,
        layout: Layout::row_major(&[3]),
        kind: BufferKind::Output(0),
    }];
    built.program.steps = vec![Step {
        kernel: 0,
        args: vec![BufferId(0)],
        origins: Vec::new(),
        condition: None,
    }];
    built.program.inputs.clear();
    built.program.outputs = vec![Io {
        name: "flags".into(),
        dtype: DType::Bool,
        shape: vec![3],
        buffer: BufferId(0),
    }];
    built.plan = Plan {
        places: vec![Place::Output(0)],
        arena_bytes: 0,
        arena_lower_bound: 0,
        weight_bytes: 0,
    };
    built
}

/// An input.
pub fn input() -> Vec<f32> {
    (0..M * K).map(|i| (i % 7) as f32 * 0.5 - 1.0).collect()
}

/// y and its sum for [`input`].
pub fn expected(x: &[f32]) -> (Vec<f32>, f32) {
    let number = |i: i64, scale: f32| (i % 11 - 5) as f32 * scale;
    let mut y = Vec::new();
    for i in 0..M {
        for j in 0..N {
            let s: f32 = (0..K)
                .map(|k| x[(i * K + k) as usize] * number(k * N + j, 0.25))
                .sum();
            y.push(s.max(0.0) + number(j, 0.5));
        }
    }
    let sum = y.iter().sum();
    (y, sum)
}

/// Little-endian bytes.
pub fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
