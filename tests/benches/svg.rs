//! A plain line chart as SVG, in colours that can be read on white and on black.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

/// Folder in which the charts are saved. Without it, nothing is drawn.
const FOLDER: &str = "JIT_BENCH_SVG";
/// Colour of the text and the grid. A page that contains the picture itself may set another one.
const TEXT: &str = "#7a828c";
/// Colours of the lines.
const COLOURS: [&str; 2] = ["#d9700a", "#2f81d0"];
/// Size of the picture, and edges of the plot in it.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 610.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 255.0;
/// Number of steps on the vertical axis.
const STEPS: u32 = 4;

/// Words of a chart, with the units of its axes.
#[derive(Debug)]
pub struct Chart {
    pub title: &'static str,
    pub across: &'static str,
    pub up: &'static str,
}

/// One line of a chart. Its points stand at equal distances.
#[derive(Debug)]
pub struct Line {
    name: &'static str,
    points: Vec<(String, f64)>,
}

impl Line {
    pub fn new(name: &'static str) -> Self {
        Self { name, points: Vec::new() }
    }

    pub fn add(&mut self, label: String, value: f64) {
        self.points.push((label, value));
    }
}

impl Chart {
    /// Saves the chart under this name, if there is a folder for charts.
    pub fn save(&self, name: &str, lines: &[Line; 2]) -> Result<()> {
        let Some(folder) = std::env::var_os(FOLDER) else { return Ok(()) };
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(Path::new(&folder).join(name), self.draw(lines)?)?)
    }

    fn draw(&self, lines: &[Line; 2]) -> Result<String> {
        let most = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value).fold(0.0, f64::max);
        let step = round_up(most / f64::from(STEPS));
        let top = step * f64::from(STEPS);
        let count = lines[0].points.len();
        let across = |place: usize| LEFT + (RIGHT - LEFT) * (place as f64 + 0.5) / count as f64;
        let up = |value: f64| BOTTOM - (BOTTOM - TOP) * value / top;
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             role=\"img\" font-family=\"sans-serif\" font-size=\"13\" color=\"{TEXT}\" fill=\"currentColor\">\n\
             <title>{0}</title>\n<text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{0}</text>\n",
            self.title
        );
        for number in 0..=STEPS {
            let value = step * f64::from(number);
            let at = up(value);
            writeln!(
                text,
                "<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"currentColor\" stroke-opacity=\"0.25\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                LEFT - 8.0,
                at + 4.0
            )?;
        }
        for (place, (label, _)) in lines[0].points.iter().enumerate() {
            let (x, y) = (across(place), BOTTOM + 20.0);
            writeln!(text, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>")?;
        }
        let (middle, below) = ((LEFT + RIGHT) / 2.0, BOTTOM + 45.0);
        writeln!(text, "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", self.across)?;
        let middle = (TOP + BOTTOM) / 2.0;
        writeln!(
            text,
            "<text transform=\"translate(20 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            self.up
        )?;
        for (number, (line, colour)) in lines.iter().zip(COLOURS).enumerate() {
            let path: Vec<String> = line
                .points
                .iter()
                .enumerate()
                .map(|(place, (_, value))| format!("{:.1} {:.1}", across(place), up(*value)))
                .collect();
            writeln!(text, "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>", path.join("L"))?;
            for point in &path {
                let (x, y) = point.split_once(' ').unwrap_or_default();
                writeln!(text, "<circle cx=\"{x}\" cy=\"{y}\" r=\"4\" fill=\"{colour}\"/>")?;
            }
            let x = LEFT + 250.0 * number as f64;
            writeln!(text, "<text x=\"{x}\" y=\"44\" fill=\"{colour}\">{}</text>", line.name)?;
        }
        Ok(text + "</svg>\n")
    }
}

/// Returns the next number of the form 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1e-3).log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|first| first * power).find(|round| *round >= value).unwrap_or(10.0 * power)
}
