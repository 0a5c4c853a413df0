//! One table for each rule. Products and quotients were computed by Go with the same steps; the texts of quantities are
//! those of Kubernetes.

use super::*;
use crate::api::quantity::Format;
use Resource::{Cpu, Memory};
use proptest::prelude::*;

fn evaluate(resource: Resource, text: &str, aggregate: &str) -> Result<String, Problem> {
    let aggregate = Quantity::parse(aggregate).unwrap_or_else(|e| panic!("{e}"));
    Expression::parse(resource, text).and_then(|e| e.evaluate(aggregate)).map(|q| q.to_string()).map_err(|e| e.problem)
}

fn assert_results(resource: Resource, table: &[(&str, &str, &str)]) {
    for (text, aggregate, result) in table {
        assert_eq!(evaluate(resource, text, aggregate).as_deref(), Ok(*result), "{text} with {aggregate}");
    }
}

fn assert_problems(resource: Resource, table: &[(&str, &str)]) {
    for (text, message) in table {
        let problem = evaluate(resource, text, "1").expect_err(text);
        assert_eq!(problem.to_string(), *message, "{text}");
    }
}

#[test]
fn results_equal_openkruise() {
    assert_results(
        Cpu,
        &[
            ("max(cpu*50%, 50m)", "200m", "100m"),
            ("max(40m, 20)", "1", "20"),
            ("min(max(max(max(0.5,0.5*cpu),cpu-1.0),cpu-1.0),3.0)", "0.5", "500m"),
            ("max(min(2*cpu,3.0-cpu),2*cpu-3.0)", "1.5", "1500m"),
        ],
    );
    assert_results(Memory, &[("0.5*memory + max(0, memory-2Gi)", "8Gi", "10Gi"), ("200Mi", "0", "200Mi")]);
}

#[test]
fn operators_bind_as_in_arithmetic_and_to_the_left() {
    assert_results(
        Cpu,
        &[
            ("1+2*3", "1", "7"),
            ("(1+2)*3", "1", "9"),
            ("8-4-2", "1", "2"),
            ("8/4/2", "1", "1"),
            ("8/4*2", "1", "4"),
            ("-2+3", "1", "1"),
            ("2--1", "1", "3"),
            ("--cpu", "300m", "300m"),
            ("3*-1+4", "1", "1"),
            ("-(cpu-2)*2", "1", "2"),
            (" 1\t+\n 2 ", "1", "3"),
        ],
    );
}

#[test]
fn literals_are_numbers_percentages_and_quantities() {
    assert_results(
        Cpu,
        &[
            ("1", "1", "1"),
            (".5", "1", "500m"),
            ("5.", "1", "5"),
            ("1e3", "1", "1k"),
            ("1E3", "1", "1k"),
            ("1e-3", "1", "1m"),
            ("1e+1", "1", "10"),
            ("cpu*1e-1", "2", "200m"),
            ("50%", "1", "500m"),
            ("150%*cpu", "200m", "300m"),
            (".5k", "1", "500"),
            ("100m", "1", "100m"),
            ("1M+1G+1T+1P+1k", "1", "1001001001001k"),
        ],
    );
    assert_results(Memory, &[("1Ki+1Mi+1Gi+1Ti+1Pi", "0", "1100586419201Ki"), ("1.5Gi", "0", "1536Mi")]);
}

/// As in OpenKruise. Validation reports them through `doubts`.
#[test]
fn a_literal_that_cannot_be_read_counts_as_zero_and_is_doubtful() {
    for literal in [
        "100mi", "0.5cpu", "1e", "1E", "1Ei", "5E", ".", "50%cpu", "1.2.3", "1.2.3k", "10n", "10u", "1e3Ki", "0x10",
        "5%%",
    ] {
        let expression = Expression::parse(Cpu, &format!("{literal} + 2 * cpu")).unwrap_or_else(|e| panic!("{e}"));
        let result = expression.evaluate(Quantity::from_milli(50, Format::DecimalSi)).map(|q| q.to_string());
        assert_eq!(result.as_deref(), Ok("100m"), "{literal}");
        assert_eq!(expression.doubts(), [Doubt::CountsAsZero(literal.to_owned())]);
    }
    for text in ["max(cpu, 100m)", "1e3 + 50% + .5 + 1Gi", "99999999999999999999"] {
        assert_eq!(Expression::parse(Cpu, text).map(|e| e.doubts().len()), Ok(0), "{text}");
    }
}

#[test]
fn names_are_read_in_any_case() {
    assert_results(Cpu, &[("CPU*2", "1", "2"), ("Cpu + cPU", "1", "2"), ("MAX(cpu, Min(2, 3))", "1", "2")]);
    assert_results(Memory, &[("min(MEMORY,memory)", "1Gi", "1Gi"), ("Memory/2", "1Gi", "512Mi")]);
}

#[test]
fn either_variable_stands_for_the_resource_but_not_both() {
    let expression = Expression::parse(Cpu, "memory*2").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(expression.doubts(), [Doubt::OtherVariable { variable: "memory", resource: Cpu }]);
    assert_results(Cpu, &[("memory*2", "100m", "200m")]);
    assert_problems(Memory, &[("memory + Cpu", "undefined variable: Cpu")]);
}

#[test]
fn results_keep_the_notation_of_the_operands() {
    assert_results(
        Memory,
        &[
            ("memory", "1e9", "1e9"),
            ("memory/1.1", "2e9", "1818181818181e-3"),
            ("memory + 0.5", "1536Mi", "1610612736500m"),
            ("memory*1.5", "123Mi", "188928Ki"),
            ("1k + memory", "1Ki", "2024"),
            ("memory + 1k", "1Ki", "2024"),
            ("1 + memory", "1023Ki", "1047553"),
            ("1024 + memory", "1023Ki", "1Mi"),
            ("memory + 1k", "0", "1k"),
            ("0 + memory", "1e9", "1e9"),
            ("max(2048, memory)", "1Ki", "2Ki"),
            ("max(2048, memory)", "1k", "2048"),
            ("min(1Gi, 1073741824m * 1000)", "0", "1Gi"),
            ("2048", "0", "2Ki"),
            ("1.9", "0", "1"),
        ],
    );
}

#[test]
fn scaling_goes_through_thousandths_and_cuts_off() {
    assert_results(
        Cpu,
        &[
            ("cpu*0.5", "1m", "0"),
            ("cpu*0.9999", "1", "999m"),
            ("cpu/3", "1", "333m"),
            ("cpu*0.29", "100m", "28m"),
            ("cpu*1", "100u", "1m"),
            ("cpu", "100u", "100u"),
            ("cpu + 0.0019", "1", "1001m"),
            ("0.0019", "1", "1m"),
            ("max(0.0019, cpu)", "1m", "1m"),
            ("1.001", "1", "1"),
            ("1.005", "1", "1004m"),
            ("cpu*0.1", "3", "300m"),
            ("cpu*1.1", "1100m", "1210m"),
        ],
    );
    assert_results(
        Memory,
        &[
            ("memory*0.1", "1Gi", "107374182400m"),
            ("memory*1.1", "9Ti", "10885165114982400m"),
            ("memory/3", "10Ti", "3665038759253333m"),
            ("memory*1", "9007199254740993m", "9007199254740992m"),
            ("memory/0.7", "1Gi", "1533916891428m"),
        ],
    );
}

#[test]
fn quantities_are_not_multiplied_and_do_not_divide() {
    assert_problems(
        Cpu,
        &[
            ("cpu*cpu", "multiplication of two quantities"),
            ("100m*cpu", "multiplication of two quantities"),
            ("max(1, cpu)*cpu", "multiplication of two quantities"),
            ("cpu/cpu", "division by quantity"),
            ("100m/cpu", "division by quantity"),
            ("1/cpu", "division by quantity"),
            ("cpu/0", "division by zero"),
            ("1/0", "division by zero"),
            ("cpu/(2-2)", "division by zero"),
            ("cpu/100mi", "division by zero"),
        ],
    );
}

#[test]
fn a_negative_result_is_an_error_and_a_negative_part_is_not() {
    assert_problems(Cpu, &[("cpu-2", "the result -1 is negative"), ("-0.5", "the result -0.5 is negative")]);
    assert_problems(Memory, &[("-0.5", "the result -0.5 is negative"), ("-memory", "the result -1 is negative")]);
    assert_results(Cpu, &[("max(0, cpu-2)", "1", "0"), ("0-0", "1", "0"), ("-cpu", "0", "0"), ("-0", "0", "0")]);
}

#[test]
fn what_is_negative_whatever_there_is_makes_no_sense() {
    let check = |text: &str| Expression::parse(Cpu, text).and_then(|e| e.check()).map_err(|e| e.problem);
    for never in
        ["-cpu", "cpu*-1", "cpu/-2", "-(cpu*50%)-1", "min(cpu, 2)-3", "max(-cpu, -1)", "0-cpu", "-max(cpu, 1)*2"]
    {
        assert_eq!(check(never), Err(Problem::AlwaysNegative), "{never}");
    }
    for ever in
        ["cpu-2", "2-cpu", "min(cpu-1, 3-cpu)", "-cpu*-1", "max(-cpu, 0)", "cpu*0", "min(cpu, 3-cpu)", "(cpu-2)*-1"]
    {
        assert_eq!(check(ever), Ok(()), "{ever}");
    }
}

/// OpenKruise wraps around: `1Pi*1000000` is negative there.
#[test]
fn what_does_not_fit_is_an_overflow() {
    for text in [
        "1Pi*1000000",
        "8191Pi*2",
        "1e1000",
        "1e1000*0",
        "1e308*10",
        "1e308+1e308",
        "1e17",
        "99999999999999999999",
        "cpu*1e19",
        "cpu+1e16",
        "cpu/1e-300",
        "max(cpu, 1e16)",
        "99999999999999999999999999999999999999999P",
        "-(1e300*-1e300)",
    ] {
        assert_eq!(evaluate(Cpu, text, "1"), Err(Problem::Overflow), "{text}");
    }
    assert_eq!(evaluate(Memory, "1e19", "1"), Err(Problem::Overflow));
    assert_results(Memory, &[("1e17", "1", "97656250000000Ki"), ("4Pi*2", "1", "8Pi")]);
}

#[test]
fn errors_name_the_expression_and_the_place() {
    assert_problems(
        Cpu,
        &[
            ("", "it ends too early: expected a number, a quantity, a variable or an opening parenthesis"),
            ("  ", "it ends too early: expected a number, a quantity, a variable or an opening parenthesis"),
            ("1+", "it ends too early: expected a number, a quantity, a variable or an opening parenthesis"),
            ("(1", "it ends too early: expected an operator or a closing parenthesis"),
            ("max(1,2", "it ends too early: expected an operator, a comma or a closing parenthesis"),
            ("1 2", "unexpected '2' at byte 2: expected an operator"),
            ("1)", "unexpected ')' at byte 1: expected an operator"),
            ("cpu*+1", "unexpected '+' at byte 4: expected a number, a quantity, a variable or an opening parenthesis"),
            ("é", "unexpected 'é' at byte 0: expected a number, a quantity, a variable or an opening parenthesis"),
            ("x*2", "undefined variable: x"),
            ("max", "undefined variable: max"),
            ("floor(cpu)", "unknown function: floor"),
            ("max(1)", "max function requires exactly 2 arguments, got 1"),
            ("min()", "min function requires exactly 2 arguments, got 0"),
            ("min(1,2,3)", "min function requires exactly 2 arguments, got 3"),
        ],
    );
    let error = Expression::parse(Cpu, "cpu*cpu").and_then(|e| e.check()).map_err(|e| e.to_string());
    assert_eq!(error, Err("expression \"cpu*cpu\": multiplication of two quantities".to_owned()));
}

#[test]
fn check_rejects_what_fails_for_every_pod_and_accepts_what_fails_for_some() {
    let check = |resource, text| Expression::parse(resource, text).and_then(|e| e.check()).map_err(|e| e.problem);
    for text in
        ["cpu*cpu", "100m/cpu", "cpu/cpu", "cpu/0", "1-2", "100m-200m", "1e1000", "1e17", "cpu*1e19", "1Pi*1000000"]
    {
        assert!(check(Cpu, text).is_err(), "{text}");
    }
    for text in ["memory-2Gi", "max(0, memory-2Gi)", "memory*50%", "1Gi", "0", "2-1", "memory/3+1", "1e17"] {
        assert_eq!(check(Memory, text), Ok(()), "{text}");
    }
}

#[test]
fn length_and_depth_are_bounded() {
    let parse = |text: &str| Expression::parse(Cpu, text).map_err(|e| e.problem);
    let nested = |depth| format!("{}cpu{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(parse(&nested(MAX_DEPTH + 1)), Err(Problem::TooDeep));
    assert_eq!(parse(&nested(2000)), Err(Problem::TooDeep));
    assert!(parse(&format!("{}0", "0+".repeat(MAX_LENGTH / 2 - 1))).is_ok());
    assert!(parse(&format!("{}1", "-".repeat(MAX_LENGTH - 1))).is_ok());
    assert_eq!(parse(&" ".repeat(MAX_LENGTH + 1)), Err(Problem::TooLong));
    let error = Expression::parse(Cpu, &"1".repeat(100_000)).map_err(|e| e.to_string().len());
    assert!(error.is_err_and(|length| length < 200));
}

/// Generates text from the tokens of expressions, so that much of it parses.
fn likely_text() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "cpu", "CPU", "1", "0", "2.5", "1e3", "1e-3", "50%", "100m", "2Gi", "1e", "1e300", "9Pi", "+", "-", "*", "/",
        "(", ")", "max(", "min(", ",", " ",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_text_and_no_quantity_panics(
        text in prop_oneof![likely_text(), any::<String>()],
        aggregate in prop_oneof![Just(i64::MAX), Just(i64::MIN), any::<i64>()],
    ) {
        if let Ok(expression) = Expression::parse(Cpu, &text) {
            let aggregate = Quantity::from_milli(aggregate, Format::BinarySi);
            let checked = expression.check();
            match expression.evaluate(aggregate) {
                Ok(quantity) => prop_assert!(!quantity.is_negative()),
                Err(ExpressionError { problem: Problem::Negative(_) | Problem::Overflow, .. }) => {}
                Err(error) => prop_assert_eq!(checked, Err(error)),
            }
        }
    }
}
