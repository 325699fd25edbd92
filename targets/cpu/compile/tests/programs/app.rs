//! Runs the hand-made model through its crate.
fn main() {
    let x: Vec<f32> = (0..m::INPUT_X_0_LEN)
        .map(|i| (i % 7) as f32 * 0.5 - 1.0)
        .collect();
    for threads in [1, 3] {
        let mut y = vec![0.0f32; m::OUTPUT_Y_LEN];
        let mut sum = [0.0f32];
        let mut model = m::Model::with_threads(threads).unwrap();
        let mut outputs = m::Outputs {
            y: &mut y,
            x_0: &mut sum,
        };
        model.run(&m::Inputs { x_0: &x }, &mut outputs).unwrap();
        let short = model.run(&m::Inputs { x_0: &x[1..] }, &mut outputs);
        assert!(short.unwrap_err().to_string().contains("x:0"));
        for v in y.iter().chain(&sum) {
            println!("{}", v.to_bits());
        }
    }
}
