use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor};

use super::place::{is_cpu_f32, values, values_mut};
use super::vector::{Loop, vectorized};

/// `x + y`, of one shape. Uses up `x`.
pub fn add(x: Tensor, y: &Tensor) -> Result<Tensor> {
    if !is_cpu_f32(&x) || !is_cpu_f32(y) {
        return x + y;
    }
    x.inplace_op2(y, &Add)?;
    Ok(x)
}

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<()> {
        let (x, y) = (values_mut(x, layout)?, values(y, y_layout)?);
        vectorized(Sum { x, y });
        Ok(())
    }
}

struct Sum<'a> {
    x: &'a mut [f32],
    y: &'a [f32],
}

impl Loop for Sum<'_> {
    #[inline(always)]
    fn run(self) {
        for (x, y) in self.x.iter_mut().zip(self.y) {
            *x += y;
        }
    }
}
